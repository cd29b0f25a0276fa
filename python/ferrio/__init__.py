"""Python's asyncio, implemented in Rust."""

from . import _registry
from ._ferrio import Future, Task
from ._loop import Loop

_registry.install()


def new_event_loop():
    """Return a new ferrio event loop."""
    return Loop()
