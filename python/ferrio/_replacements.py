"""What is ferrio's in asyncio's place: the table by which the submodules are shown and asyncio is patched."""

import asyncio
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any


class Replacements:
    """Pairs of one of asyncio's objects and what ferrio has for it, found by identity."""

    def __init__(self) -> None:
        # The original with it: else another object could get its address.
        self._pairs: dict[int, tuple[object, Any]] = {}

    def add(self, original: object, ours: object) -> None:
        """Let `ours` stand for `original`; for the same object it means nothing."""
        if original is not ours:
            self._pairs[id(original)] = original, ours

    def without(self, *originals: object) -> "Replacements":
        """Return a copy in which nothing stands for these."""
        less = Replacements()
        less._pairs = {key: pair for key, pair in self._pairs.items() if pair[0] not in originals}
        return less

    def within(self, namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        """Return (name, original, ours) for each of the namespace's values that has a replacement."""
        return (
            (name, *self._pairs[id(value)])
            for name, value in list(namespace.items())
            if id(value) in self._pairs
        )


def submodules() -> Iterator[tuple[str, ModuleType]]:
    """Return asyncio's submodules that are imported, each with its name in the package."""
    for name, module in list(sys.modules.items()):
        package, _, rest = name.partition(".")
        if package == asyncio.__name__ and rest and rest != "__main__":
            yield rest, module
