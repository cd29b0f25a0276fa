"""Queues that Python code has made its own, and queues that it looks into."""

import asyncio
import collections

import ferrio
import pytest


class SetQueue(ferrio.Queue):
    """No item twice: the example of many answers on the web."""

    def _init(self, maxsize):
        self._queue = set()

    def _put(self, item):
        self._queue.add(item)

    def _get(self):
        return self._queue.pop()


def test_a_container_of_its_own(loop):
    async def main():
        queue = SetQueue(maxsize=2)
        for item in (1, 1, 2):
            await queue.put(item)
        assert queue.full()
        assert queue.qsize() == 2
        putter = asyncio.ensure_future(queue.put(3))
        await asyncio.sleep(0)
        assert {await queue.get(), await queue.get(), await queue.get()} == {1, 2, 3}
        await putter
        assert queue.empty()

    loop.run_until_complete(main())


def test_methods_that_call_those_of_the_base(loop):
    calls = []

    class Watched(ferrio.PriorityQueue):
        def _init(self, maxsize):
            calls.append(("init", maxsize))
            super()._init(maxsize)

        def _put(self, item):
            calls.append(("put", item))
            super()._put((-item, item))

        def _get(self):
            item = super()._get()[1]
            calls.append(("get", item))
            return item

    async def main():
        queue = Watched(7)
        for item in (1, 3, 2):
            await queue.put(item)
        return [await queue.get() for _ in range(3)]

    assert loop.run_until_complete(main()) == [3, 2, 1]
    expected = [("init", 7), ("put", 1), ("put", 3), ("put", 2), ("get", 3), ("get", 2), ("get", 1)]
    assert calls == expected


@pytest.mark.parametrize(
    "method", ["qsize", "empty", "full", "put_nowait", "get_nowait", "_format"]
)
def test_the_queue_calls_what_a_subclass_overrides(method, loop):
    called = []

    def override(self, *args):
        called.append(method)
        return getattr(ferrio.Queue, method)(self, *args)

    cls = type("Derived", (ferrio.Queue,), {method: override})

    async def main():
        queue = cls(maxsize=3)
        await queue.put(1)
        repr(queue)
        assert await queue.get() == 1

    loop.run_until_complete(main())
    assert called


def test_a_subclass_that_wakes_waiters(loop):
    class Clearable(ferrio.Queue):
        def clear(self):
            while not self.empty():
                self._get()
            self._wakeup_next(self._putters)

    async def main():
        queue = Clearable(1)
        queue.put_nowait(1)
        putters = [asyncio.ensure_future(queue.put(item)) for item in (2, 3)]
        await asyncio.sleep(0)
        putters[0].cancel()
        queue.clear()
        await putters[1]
        assert queue.get_nowait() == 3

    loop.run_until_complete(main())


def test_an_overridden_init_without_super():
    class Careless(ferrio.Queue):
        def __init__(self):
            pass

    queue = Careless()
    queue.put_nowait(1)
    assert queue.get_nowait() == 1


@pytest.mark.parametrize(
    ("cls", "container"),
    [(ferrio.Queue, collections.deque), (ferrio.LifoQueue, list), (ferrio.PriorityQueue, list)],
)
def test_what_is_looked_into_is_the_container_itself(cls, container):
    queue = cls(maxsize=3)
    queue.put_nowait(2)
    assert type(queue._queue) is container
    assert list(queue._queue) == [2]
    queue._queue.append(3)
    assert queue.qsize() == 2
    queue.put_nowait(4)
    assert queue.full()
    assert [queue.get_nowait() for _ in range(3)] == (
        [4, 3, 2] if cls is ferrio.LifoQueue else [2, 3, 4]
    )
    assert queue.empty()


def test_waiters_that_are_looked_at_are_the_futures(loop):
    async def main():
        queue = ferrio.Queue(1)
        getter = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        assert len(queue._getters) == 1
        assert asyncio.isfuture(queue._getters[0])
        queue._getters[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await getter
        assert not queue._getters
        getter = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait("item")
        assert await getter == "item"

    loop.run_until_complete(main())


def test_a_size_that_changes(loop):
    async def main():
        queue = ferrio.Queue(1)
        queue.put_nowait(1)
        queue._maxsize = 2
        queue.put_nowait(2)
        with pytest.raises(asyncio.QueueFull):
            queue.put_nowait(3)

    loop.run_until_complete(main())


def test_shutdown(loop):
    async def main(immediate):
        queue = ferrio.Queue(1)
        queue.put_nowait(1)
        putter = asyncio.ensure_future(queue.put(2))
        join = asyncio.ensure_future(queue.join())
        await asyncio.sleep(0)
        queue.shutdown(immediate=immediate)
        with pytest.raises(ferrio.QueueShutDown):
            await putter
        if not immediate:
            assert await queue.get() == 1
            queue.task_done()
        with pytest.raises(ferrio.QueueShutDown):
            await queue.get()
        await join

    for immediate in (False, True):
        loop.run_until_complete(main(immediate))


def test_what_is_ready_makes_no_future(loop, monkeypatch):
    def refuse():
        raise AssertionError("a future was made")

    async def main():
        monkeypatch.setattr(loop, "create_future", refuse)
        queue = ferrio.Queue()
        await queue.put(1)
        assert await queue.get() == 1
        lock, semaphore, event = ferrio.Lock(), ferrio.Semaphore(), ferrio.Event()
        async with lock, semaphore, ferrio.Condition(), ferrio.Barrier(1):
            event.set()
            await event.wait()
        monkeypatch.undo()

    loop.run_until_complete(main())
