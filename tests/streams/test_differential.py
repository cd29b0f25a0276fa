"""Random scripts on asyncio's reader and on ferrio's: the same results, errors and pauses, step by step."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import ferrio
import pytest

# How many scripts each pair runs. To run one again: FERRIO_STREAMS_SEED=its number.
SCRIPTS = 600
SEED = os.environ.get("FERRIO_STREAMS_SEED")

Step = tuple[Any, ...]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "ferrio": ferrio.new_event_loop,
}


def some_bytes(chance: random.Random, longest: int) -> bytes:
    """Few different bytes, so that separators occur, overlap and repeat."""
    return bytes(chance.choices(b"ab\n", k=chance.randint(0, longest)))


def separator(chance: random.Random) -> Any:
    """One separator, a tuple of some, or what is refused."""
    refused = chance.random() < 0.05
    single = chance.random() < 0.6
    # Before 3.13 asyncio takes no tuples.
    if refused and sys.version_info >= (3, 13):
        return chance.choice([b"", (), (b"a", b""), 7, "a", None, (b"aa", "a")])
    if single or sys.version_info < (3, 13):
        kind = chance.choice([bytes, bytes, bytearray, memoryview])
        return kind(some_bytes(chance, 3) or b"b")
    return tuple(some_bytes(chance, 3) or b"ab" for _ in range(chance.randint(1, 3)))


def reading(chance: random.Random) -> Step:
    """A call of one of the reader's coroutine methods."""
    match chance.randrange(6):
        case 0:
            odd = [None, "2", True, -(2**70), 2**70, *([2] * 20)]
            return "read", (chance.choice(odd) if chance.random() < 0.5 else chance.randint(-1, 9),)
        case 1:
            return "readline", ()
        case 2:
            return "readuntil", (separator(chance),)
        case 3:
            return "readexactly", (chance.choice([*range(-1, 12), "1", 2**70]),)
        case 4:
            return "read", ()
        case _:
            return "__anext__", ()


def script(seed: int) -> tuple[int, bool, list[Step]]:
    """A limit, whether the buffer is looked at, and what happens."""
    chance = random.Random(seed)
    limit = chance.choice([1, 2, 3, 5, 8, 2**16])
    steps: list[Step] = []
    for _ in range(chance.randint(3, 25)):
        kind = chance.choices(
            ["feed", "call", "cancel", "eof", "error", "settle"], [8, 8, 1, 0.7, 0.3, 2]
        )[0]
        if kind == "feed":
            steps.append(("feed", some_bytes(chance, 6)))
        elif kind == "call":
            # The methods are for one coroutine at a time: when another begins, the rest is at rest.
            steps += [("settle",), ("call", *reading(chance)), ("settle",)]
        else:
            steps.append((kind,))
    # In the end nobody waits.
    return limit, chance.random() < 0.3, [*steps, ("settle",), ("eof",), ("settle",)]


class Transport:
    """Notes that it was paused and resumed."""

    def __init__(self, events: list[Any]) -> None:
        self._events = events

    def __repr__(self) -> str:
        return "<Transport>"

    def pause_reading(self) -> None:
        """Note it."""
        self._events.append("pause")

    def resume_reading(self) -> None:
        """Note it."""
        self._events.append("resume")


def told(error: BaseException | None) -> Any:
    """An exception as its class, message, attributes and context."""
    if error is None:
        return None
    details = [getattr(error, name, None) for name in ("consumed", "partial", "expected")]
    return type(error), str(error), details, told(error.__context__)


async def play(streams: ModuleType, seed: int) -> list[Any]:
    """Run a script and return what happened."""
    limit, look, steps = script(seed)
    events: list[Any] = []
    reader = streams.StreamReader(limit=limit)
    reader.set_transport(Transport(events))
    tasks: list[asyncio.Task[Any]] = []

    async def call(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            result = await getattr(reader, name)(*arguments)
            events.append((number, name, type(result), result))
        except BaseException as error:
            events.append((number, name, told(error)))

    for step in steps:
        match step:
            case ("feed", data):
                try:
                    reader.feed_data(data)
                except AssertionError as error:
                    events.append(told(error))
            case ("call", name, arguments):
                tasks.append(asyncio.ensure_future(call(len(tasks), name, arguments)))
            case ("cancel",):
                for task in tasks:
                    task.cancel()
            case ("eof",):
                reader.feed_eof()
            case ("error",):
                reader.set_exception(ValueError(f"error {len(events)}"))
            case ("settle",):
                for _ in range(5):
                    await asyncio.sleep(0)
        waiting = reader._waiter is not None
        events.append((waiting, reader.at_eof(), reader.exception() is None, reader._paused))
        if not waiting:
            events.append(repr(reader))
        if look:
            events.append(bytes(reader._buffer))
    reader.set_exception(EOFError())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return events


def run(loop: str, streams: ModuleType, seeds: list[int]) -> list[list[Any]]:
    """What the scripts do, one after the other on one loop."""

    async def all_of_them() -> list[list[Any]]:
        return [await play(streams, seed) for seed in seeds]

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(all_of_them())


@pytest.mark.parametrize("loop", LOOPS)
def test_random_scripts_do_the_same(loop: str) -> None:
    first = random.randrange(2**32)
    seeds = [int(SEED)] if SEED else list(range(first, first + SCRIPTS))
    expected = run("asyncio", asyncio, seeds)
    actual = run(loop, ferrio, seeds)
    for seed, asyncios, ours in zip(seeds, expected, actual, strict=True):
        assert ours == asyncios, f"FERRIO_STREAMS_SEED={seed}: {script(seed)}"
