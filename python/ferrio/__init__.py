"""Python's asyncio, implemented in Rust."""

from ._loop import Loop


def new_event_loop():
    """Return a new ferrio event loop."""
    return Loop()
