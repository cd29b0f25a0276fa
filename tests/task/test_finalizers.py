"""What a future or a task reports when it dies, and what its finalizer may do."""

import asyncio
import gc
import sys

import ferrio
import pytest


@pytest.fixture
def reported(loop):
    """The contexts that the loop's exception handler gets."""
    contexts = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


def test_an_exception_that_nobody_retrieves_is_reported(loop, reported):
    error = ValueError("lost")
    ferrio.Future(loop=loop).set_exception(error)
    gc.collect()
    [context] = reported
    assert context["message"] == "Future exception was never retrieved"
    assert context["exception"] is error
    assert isinstance(context["future"], ferrio.Future)


def test_an_exception_that_is_retrieved_is_not(loop, reported):
    future = ferrio.Future(loop=loop)
    future.set_exception(ValueError("found"))
    assert isinstance(future.exception(), ValueError)
    del future
    gc.collect()
    assert reported == []


def test_no_task_is_the_current_one_when_one_that_nobody_keeps_dies(loop):
    current = []
    loop.set_exception_handler(lambda _, context: current.append(asyncio.current_task(loop)))

    async def fails():
        raise ValueError

    async def runs():
        current.append("runs")

    async def main():
        loop.create_task(fails())
        loop.create_task(runs())
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert current == [None, "runs"]


def test_a_task_s_exception_is_reported_by_its_class_s_name(loop, reported):
    class Mine(ferrio.Task):
        pass

    async def fails():
        raise ValueError

    async def main():
        Mine(fails(), loop=loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    gc.collect()
    assert [context["message"] for context in reported] == ["Mine exception was never retrieved"]


def test_a_pending_task_is_reported(loop, reported):
    async def main():
        ferrio.Task(forever(), loop=loop)
        await asyncio.sleep(0)

    async def forever():
        await loop.create_future()

    loop.run_until_complete(main())
    gc.collect()
    [context] = reported
    assert context["message"] == "Task was destroyed but it is pending!"
    assert isinstance(context["task"], ferrio.Task)


def test_a_pending_task_is_not_reported_when_asked(loop, reported):
    async def main():
        ferrio.Task(forever(), loop=loop)._log_destroy_pending = False
        await asyncio.sleep(0)

    async def forever():
        await loop.create_future()

    loop.run_until_complete(main())
    gc.collect()
    assert reported == []


def test_debug_mode_tells_where_the_task_was_made(loop, reported):
    loop.set_debug(True)
    ferrio.Future(loop=loop).set_exception(ValueError())
    gc.collect()
    [context] = reported
    assert context["source_traceback"][-1].filename == __file__


def test_an_exception_handler_may_keep_the_future(loop):
    """The object lives on, works, and is not reported again when it dies."""
    kept = []
    loop.set_exception_handler(lambda _, context: kept.append(context["future"]))
    error = ValueError()
    ferrio.Future(loop=loop).set_exception(error)
    gc.collect()
    [future] = kept
    assert future.exception() is error
    kept.clear()
    del future
    gc.collect()
    assert kept == []


def test_an_exception_handler_that_raises_does_not_stop_the_finalizer(loop, caplog):
    def handler(loop, context):
        raise RuntimeError("the handler itself")

    loop.set_exception_handler(handler)
    ferrio.Future(loop=loop).set_exception(ValueError())
    gc.collect()
    assert "Unhandled error in exception handler" in caplog.text


def test_a_finalizer_keeps_the_exception_in_flight(loop, reported):
    future = ferrio.Future(loop=loop)
    future.set_exception(ValueError())

    def fail(futures):
        try:
            raise KeyError
        finally:
            futures.clear()

    futures = [future]
    del future
    with pytest.raises(KeyError):
        fail(futures)
    assert len(reported) == 1


@pytest.mark.parametrize("base", [ferrio.Future, ferrio.Task])
def test_a_subclass_s_finalizer_is_called_once(base, loop):
    died = []

    class Mine(base):
        def __del__(self):
            died.append(type(self).__name__)
            super().__del__()

    async def noop():
        pass

    if base is ferrio.Task:
        loop.run_until_complete(Mine(noop(), loop=loop))
    else:
        Mine(loop=loop)
    gc.collect()
    assert died == ["Mine"]


def test_a_finalizer_that_does_not_call_ours_leaves_no_trace_in_all_tasks(loop):
    """Asyncio's record of all tasks holds no references: a dead task must not stay in it."""

    class Careless(ferrio.Task):
        def __del__(self):
            pass

    async def forever():
        await loop.create_future()

    async def main():
        for _ in range(100):
            Careless(forever(), loop=loop)
        assert len(asyncio.all_tasks()) == 101
        await asyncio.sleep(0)
        gc.collect()
        return asyncio.all_tasks()

    assert len(loop.run_until_complete(main())) == 1


def test_what_was_never_initialised_dies_quietly():
    for cls in (ferrio.Future, ferrio.Task):
        cls.__new__(cls)
    gc.collect()


def test_a_task_that_could_not_be_made_dies_quietly(loop, reported):
    with pytest.raises(TypeError):
        ferrio.Task("no coroutine", loop=loop)
    gc.collect()
    assert reported == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager start before")
def test_an_eager_task_that_ends_at_once_is_not_reported(loop, reported):
    async def value():
        return 3

    async def main():
        return ferrio.Task(value(), loop=loop, eager_start=True).result()

    assert loop.run_until_complete(main()) == 3
    gc.collect()
    assert reported == []
