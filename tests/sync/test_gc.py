"""Cycles through primitives and their coroutines are collected, and nothing is leaked."""

import asyncio
import gc
import sys
import weakref

import ferrio
import pytest


class Mark:
    """Something that a weak reference shows to be gone."""


def is_collected(make):
    """Whether what `make()` returns, the only reference to it, is gone after a collection."""
    gc.collect()
    mark = make()
    reference = weakref.ref(mark)
    del mark
    gc.collect()
    return reference() is None


MAKERS = {
    "Lock": ferrio.Lock,
    "Event": ferrio.Event,
    "Condition": ferrio.Condition,
    "Semaphore": lambda: ferrio.Semaphore(0),
    "BoundedSemaphore": lambda: ferrio.BoundedSemaphore(0),
    "Barrier": lambda: ferrio.Barrier(2),
    "Queue": lambda: ferrio.Queue(1),
    "LifoQueue": lambda: ferrio.LifoQueue(1),
    "PriorityQueue": lambda: ferrio.PriorityQueue(1),
}


@pytest.mark.parametrize("name", MAKERS)
def test_an_attribute_that_refers_to_its_primitive(name):
    def make():
        mark = Mark()
        subject = MAKERS[name]()
        subject.attribute = subject, mark
        return mark

    assert is_collected(make)


@pytest.mark.parametrize("name", MAKERS)
def test_a_subclass_whose_attribute_refers_to_it(name):
    cls = type("Derived", (getattr(ferrio, name),), {})

    def make():
        mark = Mark()
        subject = cls(2) if name == "Barrier" else cls()
        subject.attribute = subject, mark
        return mark

    assert is_collected(make)


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("cls", [ferrio.Queue, ferrio.LifoQueue, ferrio.PriorityQueue])
def test_an_item_that_refers_to_its_queue(cls, shown):
    def make():
        mark = Mark()
        queue = cls()
        queue.put_nowait((queue, mark))
        if shown:
            assert len(queue._queue) == 1
        return mark

    assert is_collected(make)


def test_a_condition_whose_lock_refers_to_it():
    def make():
        mark = Mark()
        lock = ferrio.Lock()
        lock.attribute = ferrio.Condition(lock), mark
        return mark

    assert is_collected(make)


COROUTINES = {
    "Lock": ["acquire", "__aenter__"],
    "Event": ["wait"],
    "Condition": ["wait", "__aenter__"],
    "Semaphore": ["acquire", "__aenter__"],
    "Barrier": ["wait", "reset", "abort", "__aenter__"],
    "Queue": ["get", "join"],
}


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name in COROUTINES for method in COROUTINES[name]]
)
def test_a_coroutine_that_its_primitive_refers_to(name, method):
    def make():
        mark = Mark()
        subject = MAKERS[name]()
        subject.attribute = getattr(subject, method)(), mark
        return mark

    assert is_collected(make)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_arguments_that_refer_to_their_coroutine():
    def make(call):
        mark = Mark()
        cycle = [mark]
        cycle.append(call(cycle))
        return mark

    assert is_collected(lambda: make(ferrio.Queue().put))
    assert is_collected(lambda: make(lambda cycle: ferrio.Condition().wait_for(lambda: cycle)))


def wait_at(subject, name):
    """Coroutines of the primitive that wait, driven by hand."""
    if name == "Lock":
        with pytest.raises(StopIteration):
            subject.acquire().send(None)
    if name == "Queue":
        subject.put_nowait(1)
        waiting = [subject.put(2), subject.join()]
    elif name == "Condition":
        # Only one: each that is dropped acquires the lock again.
        waiting = [subject.wait_for(lambda: False)]
    else:
        waiting = [subject.wait() if hasattr(subject, "wait") else subject.acquire()]
    for coroutine in waiting:
        if name == "Condition":
            with pytest.raises(StopIteration):
                subject.acquire().send(None)
        assert asyncio.isfuture(coroutine.send(None))
    return waiting


@pytest.mark.parametrize("name", ["Lock", "Event", "Condition", "Semaphore", "Barrier", "Queue"])
def test_waiters_in_a_cycle(name, loop):
    def make():
        mark = Mark()
        subject = MAKERS[name]()
        subject.attribute = wait_at(subject, name), mark
        return mark

    async def main():
        # In a call of its own, so that no frame of the loop keeps anything.
        assert is_collected(make)

    loop.run_until_complete(main())


def test_a_pending_task_that_is_dropped_with_its_queue(loop):
    loop.set_exception_handler(lambda loop, context: None)

    async def main():
        def start():
            mark = Mark()
            queue = ferrio.Queue()

            async def wait():
                return mark, await queue.get()

            queue.task = asyncio.ensure_future(wait())
            return mark, weakref.ref(queue)

        mark, queue = start()
        reference = weakref.ref(mark)
        del mark
        await asyncio.sleep(0)
        gc.collect()
        return reference, queue

    for reference in loop.run_until_complete(main()):
        gc.collect()
        assert reference() is None


@pytest.mark.parametrize("cls", [ferrio.Queue, ferrio.LifoQueue, ferrio.PriorityQueue])
def test_counts_of_references(cls, loop):
    item, queue = (1, Mark()), cls(1)

    async def main():
        await queue.put(item)
        putter = asyncio.ensure_future(queue.put(item))
        await asyncio.sleep(0)
        putter.cancel()
        await asyncio.wait([putter])
        assert await queue.get() is item
        getter = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(item)
        assert await getter is item
        queue.shutdown()

    before = sys.getrefcount(item), sys.getrefcount(queue)
    loop.run_until_complete(main())
    gc.collect()
    assert (sys.getrefcount(item), sys.getrefcount(queue)) == before
