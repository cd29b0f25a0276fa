"""Calls the protocol of an HTTP server as a loop would, but without loop, transport and socket.

What a request costs here is the application, its framework and the server's protocol. What it costs
more on a loop is the loop's: its turns and polls, its transports, the system's sockets. The steps of
tasks are the stdlib's own and count here, so the loop's share is, if anything, larger than what is
left.
"""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from benches.say import say

WARM_UP = 200
"""Requests before those that are measured."""
CHUNK = 100
"""Requests between two looks at the clock."""


class Ready:
    """What tasks and futures need of a loop: callbacks that are ready are called, timers never."""

    def __init__(self) -> None:
        self._ready: deque[tuple[contextvars.Context | None, Callable[..., object], Any]] = deque()

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        self._ready.append((context, callback, args))

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return Timer()

    call_at = call_later

    def time(self) -> float:
        return time.monotonic()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast(asyncio.AbstractEventLoop, self))

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=cast(asyncio.AbstractEventLoop, self), **kwargs)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # That the server's task waits for one more request at the end is no failure.
        if "exception" in context:
            raise context["exception"]

    def call_what_is_ready(self) -> None:
        while self._ready:
            context, callback, args = self._ready.popleft()
            if context is None:
                callback(*args)
            else:
                context.run(callback, *args)


class Timer:
    """What `call_later` returns."""

    def cancel(self) -> None:
        pass

    def when(self) -> float:
        return 0.0

    def cancelled(self) -> bool:
        return False


class Answers(asyncio.Transport):
    """A transport that keeps what is written until it is asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(data)

    def writelines(self, list_of_data: Any) -> None:
        self.written.extend(list_of_data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        raise RuntimeError("the server closes the connection")

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


def serve(
    make: Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, asyncio.Protocol]],
    path: str,
    seconds: float,
) -> None:
    """Sends the same GET of `path` again and again to the protocol that `make` makes, for about
    `seconds`, and prints the CPU time a request. Raises RuntimeError if it isn't answered with
    status 200 at once."""
    loop, transport = Ready(), Answers()
    running = cast(asyncio.AbstractEventLoop, loop)
    asyncio._set_running_loop(running)
    making = loop.create_task(make(running))
    loop.call_what_is_ready()
    protocol = cast(asyncio.Protocol, making.result())
    protocol.connection_made(transport)
    loop.call_what_is_ready()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n".encode()

    def answer(count: int) -> None:
        for _ in range(count):
            protocol.data_received(request)
            loop.call_what_is_ready()
            if not b"".join(transport.written).startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"not an answer: {transport.written}")
            transport.written.clear()

    answer(WARM_UP)
    began, cpu_began, answered = time.perf_counter(), time.process_time(), 0
    while (took := time.perf_counter() - began) < seconds:
        answer(CHUNK)
        answered += CHUNK
    cpu = time.process_time() - cpu_began
    say(cpu_us=cpu / answered * 1e6, per_second=answered / took, uses={})
