"""The event loops that are compared, and where a benchmark's names of asyncio come from."""

import asyncio
from collections.abc import Callable
from types import ModuleType
from typing import Any

FLOOR = "C"
NO_LOOP = "no loop"
"""The protocol and the application of an HTTP server, called without loop, transport and socket."""
OURS = "ferrio"


def new_asyncio() -> asyncio.AbstractEventLoop:
    """The stdlib's loop."""
    return asyncio.SelectorEventLoop()


def new_uvloop() -> asyncio.AbstractEventLoop:
    """uvloop's loop."""
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def new_uvloop_aiofastnet() -> asyncio.AbstractEventLoop:
    """uvloop's loop with aiofastnet's transports."""
    import aiofastnet
    import uvloop

    loop: asyncio.AbstractEventLoop = aiofastnet.loop_factory(uvloop.new_event_loop)()
    return loop


def new_rloop() -> asyncio.AbstractEventLoop:
    """rloop's loop."""
    import rloop

    loop: asyncio.AbstractEventLoop = rloop.new_event_loop()
    return loop


def new_ferrio() -> asyncio.AbstractEventLoop:
    """ferrio's loop."""
    import ferrio

    loop: asyncio.AbstractEventLoop = ferrio.new_event_loop()
    return loop


FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": new_asyncio,
    "uvloop": new_uvloop,
    "uvloop+aiofastnet": new_uvloop_aiofastnet,
    "rloop": new_rloop,
    OURS: new_ferrio,
}

PACKAGES = ("ferrio", "uvloop", "aiofastnet", "rloop")
"""The distributions that have those loops."""


class Names:
    """asyncio's names as a program on one of the loops would have them: on ferrio's, ferrio's own
    where it has one, the stdlib's otherwise; on every other loop the stdlib's."""

    def __init__(self, loop: str) -> None:
        """`loop` is a key of FACTORIES."""
        self._ours: ModuleType | None = None
        if loop == OURS:
            import ferrio

            self._ours = ferrio
        self.used: dict[str, str] = {}
        """Where each name that was asked for came from: "asyncio" or "ferrio"."""

    def __getattr__(self, name: str) -> Any:
        stdlib = getattr(asyncio, name)
        value = getattr(self._ours, name, stdlib)
        self.used[name] = "asyncio" if value is stdlib else OURS
        return value
