"""The primitives do what asyncio's do, step by step, whatever is done to them in whichever order."""

import asyncio
import itertools
import random
import sys

import ferrio
import pytest

from .worlds import STEPS_IN_A_WORLD, WORLDS, World, live

# A million steps on one interpreter, a tenth of that on the others.
_STEPS = 1_000_000 if sys.version_info[:2] == (3, 13) else 100_000
_SEEDS = _STEPS // STEPS_IN_A_WORLD // len(WORLDS) + 1


async def _live_all(kind, module, seeds):
    return [await live(kind, module, seed) for seed in seeds]


def _compare(kind: type[World], seeds: list[int], ours) -> None:
    theirs = asyncio.new_event_loop()
    try:
        for start in range(0, len(seeds), 100):
            some = seeds[start : start + 100]
            found = ours.run_until_complete(_live_all(kind, ferrio, some))
            expected = theirs.run_until_complete(_live_all(kind, asyncio, some))
            for seed, left, right in zip(some, found, expected, strict=True):
                if left != right:
                    pytest.fail(_explain(kind, seed, left, right), pytrace=False)
    finally:
        theirs.close()
        ours.close()


def _explain(kind, seed, left, right):
    pairs = itertools.zip_longest(left, right, fillvalue="nothing")
    place = next(place for place, (ours, theirs) in enumerate(pairs) if ours != theirs)
    return "\n".join(
        [
            f"{kind.__name__}, seed {seed}, entry {place}: ferrio {left[place : place + 1]}, "
            f"asyncio {right[place : place + 1]}, after",
            *map(str, left[max(place - 30, 0) : place]),
        ]
    )


@pytest.mark.parametrize("kind", WORLDS)
def test_the_same_happens_as_with_asyncio(kind):
    first = random.randrange(1 << 32)
    _compare(kind, list(range(first, first + _SEEDS)), ferrio.new_event_loop())


@pytest.mark.parametrize("kind", WORLDS)
def test_the_same_happens_on_the_loop_of_asyncio(kind):
    first = random.randrange(1 << 32)
    _compare(kind, list(range(first, first + _SEEDS // 10 + 1)), asyncio.new_event_loop())
