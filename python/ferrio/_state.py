"""Where a loop's attributes are: in slots, and so the loop's dictionary stays empty.

The interpreter finds a method of an object at once as long as nothing is in the object's dictionary; otherwise every
`loop.call_soon` looks there first.
"""

from . import _ferrio


class State(_ferrio.Loop):
    """The native loop with a slot for every attribute that a loop sets on itself."""

    slow_callback_duration: float

    __slots__ = (  # noqa: RUF023 - by who sets them
        # What asyncio.BaseEventLoop sets, of all Python versions.
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_current_handle",
        "_exception_handler",
        "_internal_fds",
        "_old_agen_hooks",
        "_ready",
        "_scheduled",
        "_timer_cancelled_count",
        "slow_callback_duration",
        # What ferrio adds.
        "_children",
        "_signal_handlers",
        "_signal_pipe",
        "_unix_server_sockets",
        "_wakes_for_signals",
    )
