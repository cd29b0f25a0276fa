"""The event loop policy, by which `asyncio.run` and `asyncio.new_event_loop` make loops of ferrio.

asyncio deprecates policies since Python 3.14, warning whoever touches them, and removes them in 3.16.
"""

import sys
import warnings

from ._loop import Loop

# Under these names nothing is deprecated: to import ferrio must not warn.
if sys.version_info >= (3, 14):
    from asyncio.events import _set_event_loop_policy
    from asyncio.unix_events import _DefaultEventLoopPolicy
else:
    from asyncio import (
        DefaultEventLoopPolicy as _DefaultEventLoopPolicy,
        set_event_loop_policy as _set_event_loop_policy,
    )


class EventLoopPolicy(_DefaultEventLoopPolicy):
    """asyncio's default policy (its child watchers, its one loop a thread) with loops of ferrio."""

    _loop_factory = Loop


def install() -> None:
    """Make ferrio's loop asyncio's default from now on.

    From Python 3.12 on it raises DeprecationWarning: `ferrio.run()`, or `asyncio.run` with
    `loop_factory=ferrio.new_event_loop`, needs no state of the whole process.
    """
    if sys.version_info >= (3, 12):
        warnings.warn(
            "ferrio.install() is deprecated in favor of ferrio.run() starting with Python 3.12.",
            DeprecationWarning,
            stacklevel=2,
        )
    set_policy()


def set_policy() -> None:
    """Do what `install` does, without a warning."""
    _set_event_loop_policy(EventLoopPolicy())
