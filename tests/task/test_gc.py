"""Cycles through futures and tasks are collected, and nothing is leaked."""

import asyncio
import contextlib
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


def test_a_callback_that_refers_to_its_future(loop):
    def make():
        mark = Mark()
        future = ferrio.Future(loop=loop)
        for _ in range(3):
            future.add_done_callback(lambda _, cycle=(future, mark): None)
        return mark

    assert is_collected(make)


def test_a_result_that_refers_to_its_future(loop):
    def make():
        mark = Mark()
        future = ferrio.Future(loop=loop)
        future.set_result([future, mark])
        return mark

    assert is_collected(make)


def test_an_exception_that_refers_to_its_future(loop):
    def make():
        mark = Mark()
        future = ferrio.Future(loop=loop)
        error = ValueError()
        error.cycle = future, mark
        future.set_exception(error)
        assert future.exception() is error
        return mark

    assert is_collected(make)


def test_a_traceback_whose_frame_refers_to_its_future(loop):
    def make():
        mark = Mark()
        future = ferrio.Future(loop=loop)

        def fail(future, mark):
            raise ValueError

        try:
            fail(future, mark)
        except ValueError as error:
            future.set_exception(error)
        assert future.exception() is not None
        return mark

    assert is_collected(make)


def test_a_cancel_message_and_an_attribute_that_refer_to_their_future(loop):
    def make():
        mark = Mark()
        future = ferrio.Future(loop=loop)
        future.cancel(msg=[future, mark])
        future.attribute = [future, mark]
        return mark

    assert is_collected(make)


def test_an_awaitable_that_its_future_refers_to(loop):
    def make():
        mark = Mark()
        future = ferrio.Future(loop=loop)
        future.attribute = future.__await__(), mark
        return mark

    assert is_collected(make)


def test_a_pending_task_that_only_its_future_refers_to():
    """On either loop a task that awaits what nobody will ever end is garbage."""
    for new_loop in (asyncio.SelectorEventLoop, ferrio.new_event_loop):
        loop = new_loop()
        reported = []
        loop.set_exception_handler(
            lambda _, context, seen=reported: seen.append(context["message"])
        )

        async def forever(mark, loop):
            await loop.create_future()

        async def main(loop):
            mark = Mark()
            ferrio.Task(forever(mark, loop), loop=loop)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return weakref.ref(mark)

        reference = loop.run_until_complete(main(loop))
        gc.collect()
        assert reference() is None
        assert reported == ["Task was destroyed but it is pending!"]
        loop.close()


def test_two_tasks_that_await_each_other(loop):
    async def main():
        loop.set_exception_handler(lambda *_: None)
        mark = Mark()
        tasks = []

        async def other(index, mark):
            await tasks[index]

        tasks += [ferrio.Task(other(1, mark), loop=loop), ferrio.Task(other(0, mark), loop=loop)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return weakref.ref(mark)

    reference = loop.run_until_complete(main())
    gc.collect()
    assert reference() is None


def test_an_exception_thrown_into_a_task_is_released(loop):
    """With its traceback, whose frames hold what the coroutine held."""

    async def fails(future, mark):
        try:
            await future
        except ValueError:
            raise KeyError from None

    async def main():
        future = loop.create_future()
        mark = Mark()
        task = ferrio.Task(fails(future, mark), loop=loop)
        reference = weakref.ref(mark)
        del mark
        await asyncio.sleep(0)
        future.set_exception(ValueError())
        with pytest.raises(KeyError):
            await task
        return reference

    reference = loop.run_until_complete(main())
    gc.collect()
    assert reference() is None


def test_a_cancelled_task_is_released_at_once(loop):
    """Nothing keeps its CancelledError and its frames alive, not even a cycle: nobody collects."""

    async def waits(mark):
        await loop.create_future()

    async def main():
        mark = Mark()
        reference = weakref.ref(mark)
        task = ferrio.Task(waits(mark), loop=loop)
        del mark
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)
        return reference() is None

    gc.collect()
    gc.disable()
    try:
        assert loop.run_until_complete(main())
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["Future", "Task"])
def test_what_takes_the_memory_of_another_has_nothing_of_it(kind, loop):
    async def never():
        await loop.create_future()

    def make():
        arguments = [never()] if kind == "Task" else []
        return getattr(ferrio, kind)(*arguments, loop=loop)

    async def main():
        used = make()
        used.attribute = used.add_done_callback(id)
        address, reference = id(used), weakref.ref(used)
        await asyncio.sleep(0)
        used.cancel()
        await asyncio.wait([used])
        with contextlib.suppress(asyncio.CancelledError):
            used.result()
        del used
        new = make()
        assert id(new) == address
        assert gc.is_tracked(new)
        assert not hasattr(new, "attribute")
        assert reference() is None
        assert not new.done()
        assert new.remove_done_callback(id) == 0
        assert getattr(new, "cancelling", int)() == 0
        new.cancel()
        await asyncio.wait([new])

    loop.run_until_complete(ferrio.Task(main(), loop=loop))


async def done_futures(loop, count):
    for _ in range(count):
        future = ferrio.Future(loop=loop)
        future.add_done_callback(len)
        future.remove_done_callback(len)
        future.set_result(None)
        await future


async def awaited_futures(loop, count):
    for _ in range(count):
        future = ferrio.Future(loop=loop)
        loop.call_soon(future.set_result, None)
        await future


async def tasks_that_return(loop, count):
    async def returns():
        return None

    for _ in range(count):
        await ferrio.Task(returns(), loop=loop)


async def tasks_that_raise(loop, count):
    async def raises():
        await asyncio.sleep(0)
        raise ValueError

    for _ in range(count):
        with contextlib.suppress(ValueError):
            await ferrio.Task(raises(), loop=loop)


async def tasks_that_are_cancelled(loop, count):
    for _ in range(count):
        task = ferrio.Task(asyncio.sleep(0, 1), loop=loop)
        task.cancel("message")
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def tasks_at_the_same_time(loop, count):
    for _ in range(count // 1000):
        await asyncio.gather(*[ferrio.Task(asyncio.sleep(0), loop=loop) for _ in range(1000)])


@pytest.mark.parametrize(
    "work",
    [
        done_futures,
        awaited_futures,
        tasks_that_return,
        tasks_that_raise,
        tasks_that_are_cancelled,
        tasks_at_the_same_time,
    ],
    ids=lambda work: work.__name__,
)
def test_memory_returns_to_where_it_was(work, loop):
    """On either loop, and for every way in which a future or a task may end."""
    assert leaked(work, loop, 20_000) < 1000


def test_memory_returns_to_where_it_was_after_a_million_tasks():
    loop = ferrio.new_event_loop()
    assert leaked(tasks_that_return, loop, 1_000_000) < 1000
    loop.close()


def leaked(work, loop, count):
    """How many more blocks are allocated after the work than before it."""

    # Ferrio's own tasks run the work, so that every step is theirs.
    def run(count):
        loop.run_until_complete(ferrio.Task(work(loop, count), loop=loop))
        gc.collect()
        return sys.getallocatedblocks()

    # What is made once, and kept, is made here.
    run(2000)
    before = run(2000)
    return run(count) - before
