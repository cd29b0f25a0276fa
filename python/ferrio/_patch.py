"""`patch()`: asyncio with ferrio's names in it, for programs and libraries that say `asyncio`."""

import asyncio
import sys
from asyncio import unix_events
from typing import Any

from ._replacements import Replacements, submodules

# The class of the policy that asyncio makes when it is asked for none; its `_loop_factory` makes the loops.
if sys.version_info >= (3, 14):
    _DefaultPolicy = unix_events._DefaultEventLoopPolicy
else:
    _DefaultPolicy = unix_events.DefaultEventLoopPolicy

# These stay asyncio's: they ask the policy, which makes ferrio's loop, or the one that the program has set, and they
# run any loop that a factory makes.
_KEPT = asyncio.run, asyncio.Runner, asyncio.new_event_loop, _DefaultPolicy

# asyncio's StreamWriter compares its reader with this, also one that was made before. ferrio's are instances of
# asyncio's class, but not the other way round.
_ASKED = asyncio.streams, "StreamReader"

_replacements = Replacements()
# What was there and what was put there, by the place: a module or the policy's class, and a name in it.
_changes: dict[tuple[Any, str], tuple[object, object]] = {}


def prepare(replacements: Replacements) -> None:
    """Say what `patch` shall put in asyncio's place."""
    global _replacements
    _replacements = replacements.without(*_KEPT)


def patch() -> None:
    """Put ferrio's classes and functions into the asyncio package and its submodules, under every name there.

    `asyncio.streams.StreamReader` alone stays what it is, for asyncio's own code compares with it.

    From then on `asyncio.run`, `asyncio.Runner` and `asyncio.new_event_loop` make loops of ferrio, unless the program
    sets a policy or gives a factory of its own. Code that has imported names before keeps asyncio's objects, and they
    work together with ferrio's. To patch twice is to patch once.
    """
    places: list[Any] = [asyncio, *(module for _, module in submodules()), _DefaultPolicy]
    for place in places:
        for name, original, ours in _replacements.within(vars(place)):
            if (place, name) != _ASKED:
                _changes[place, name] = original, ours
                setattr(place, name, ours)


def unpatch() -> None:
    """Put back what `patch` replaced: the very objects that were there.

    A name that was given another value meanwhile keeps that value.
    """
    while _changes:
        (place, name), (original, ours) = _changes.popitem()
        if vars(place).get(name) is ours:
            setattr(place, name, original)


def patched() -> bool:
    """Return whether asyncio has ferrio's names."""
    return bool(_changes)
