"""`as_completed` with both iterations, as asyncio has it from Python 3.13 on, for the versions before.

As theirs, which is a generator, it looks at its arguments when it is first asked for something.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Generic, TypeVar

from ._ferrio import ensure_future

T = TypeVar("T")

# In 3.11 asyncio's own functions ask this one, which warns when no loop runs.
_event_loop = getattr(asyncio.events, "_get_event_loop", asyncio.get_event_loop)


class _AsCompleted(Generic[T]):
    """What `as_completed` returns: iterates over coroutines, or asynchronously over futures."""

    _loop: asyncio.AbstractEventLoop

    def __init__(self, awaitables: Iterable[Awaitable[T]], timeout: float | None) -> None:
        self._awaitables = awaitables
        self._started = False
        self._timeout = timeout
        # Those that have ended, and a None for each that had not when the time was up.
        self._done: deque[asyncio.Future[T] | None] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._todo: set[asyncio.Future[T]] = set()
        self._left = 0

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        awaitables, self._awaitables = self._awaitables, ()
        if asyncio.isfuture(awaitables) or asyncio.iscoroutine(awaitables):
            kind = type(awaitables).__name__
            raise TypeError(f"expect an iterable of futures, not {kind}")
        self._loop = _event_loop()
        # A set, so that one that is given twice counts once.
        self._todo = {ensure_future(item, loop=self._loop) for item in set(awaitables)}
        for future in self._todo:
            future.add_done_callback(self._on_completion)
        if self._todo and self._timeout is not None:
            self._timer = self._loop.call_later(self._timeout, self._on_timeout)
        self._left = len(self._todo)

    def __aiter__(self) -> "_AsCompleted[T]":
        return self

    def __iter__(self) -> "_AsCompleted[T]":
        return self

    async def __anext__(self) -> "asyncio.Future[T]":
        self._start()
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._next_done()

    def __next__(self) -> Coroutine[Any, Any, T]:
        self._start()
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._wait_for_one()

    async def _wait_for_one(self) -> T:
        return (await self._next_done()).result()

    async def _next_done(self) -> "asyncio.Future[T]":
        while not self._done:
            getter = self._loop.create_future()
            self._getters.append(getter)
            try:
                await getter
            except BaseException:
                # Another gets what was for this one.
                if getter in self._getters:
                    self._getters.remove(getter)
                elif self._done:
                    self._wake()
                raise
        future = self._done.popleft()
        if future is None:
            raise TimeoutError
        return future

    def _put(self, future: "asyncio.Future[T] | None") -> None:
        self._done.append(future)
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                break

    def _on_timeout(self) -> None:
        for future in self._todo:
            future.remove_done_callback(self._on_completion)
            self._put(None)
        self._todo.clear()

    def _on_completion(self, future: "asyncio.Future[T]") -> None:
        if not self._todo:
            return  # The time was up first.
        self._todo.remove(future)
        self._put(future)
        if not self._todo and self._timer is not None:
            self._timer.cancel()


def as_completed(fs: Iterable[Awaitable[T]], *, timeout: float | None = None) -> _AsCompleted[T]:
    """Return an iterator over awaitables in the order in which they complete.

    Plain iteration gives coroutines, each of which returns or raises what the next to complete did; asynchronous
    iteration gives the futures themselves. TimeoutError is raised for those that are not done after `timeout` seconds.
    """
    return _AsCompleted(fs, timeout)
