"""`run` and `Runner`: asyncio's, on a loop of ferrio."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ._loop import Loop, new_event_loop

T = TypeVar("T")


class Runner(asyncio.Runner):  # type: ignore[misc]  # final in the stubs, and here only its default is another
    """`asyncio.Runner` whose loop is ferrio's, unless `loop_factory` makes another."""

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory)


def run(
    main: Coroutine[Any, Any, T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
    debug: bool | None = None,
    **kwargs: Any,
) -> T:
    """Run a coroutine on a new loop of ferrio, close the loop, and return the coroutine's result.

    `loop_factory` makes the loop, `debug` switches its debug mode on or off, and other keywords go to
    `asyncio.Runner`. With `loop_factory=None` the event loop policy makes the loop.

    Raises what the coroutine raises, RuntimeError when a loop is running in this thread, TypeError when the factory's
    loop isn't ferrio's, and for anything but a coroutine what this interpreter's `asyncio.run` raises.
    """
    if asyncio._get_running_loop() is not None:
        # Before a loop is made, and with asyncio's own words.
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory, **kwargs) as runner:
        if not isinstance(runner.get_loop(), Loop):
            raise TypeError("ferrio.run() uses a non-ferrio event loop")
        return runner.run(main)
