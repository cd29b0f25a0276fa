"""`ferrio.tasks`, `ferrio.subprocess`, `ferrio.exceptions`: asyncio's submodules with ferrio's names in them."""

import sys
from types import ModuleType
from typing import Any

from ._replacements import Replacements, submodules


class _Submodule(ModuleType):
    """One of asyncio's modules as it is at any time, but for the names that are ferrio's."""

    def __init__(self, name: str, original: ModuleType, ours: dict[str, Any]) -> None:
        super().__init__(name, original.__doc__)
        self.__dict__.update(ours)
        self.__dict__["_original"] = original

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._original, name)
        except AttributeError:
            message = f"module {self.__name__!r} has no attribute {name!r}"
            raise AttributeError(message) from None

    def __dir__(self) -> list[str]:
        return dir(self._original)


def install(package: ModuleType, replacements: Replacements) -> None:
    """Give ferrio each submodule of asyncio, also for `import ferrio.tasks`: the same where nothing is replaced."""
    for rest, original in submodules():
        ours = {name: new for name, _, new in replacements.within(vars(original))}
        name = f"{package.__name__}.{rest}"
        module = _Submodule(name, original, ours) if ours else original
        sys.modules[name] = module
        if "." not in rest:
            setattr(package, rest, module)
