"""`current_task()`, `all_tasks()` and the call graph of asyncio see ferrio's tasks, unpatched."""

import asyncio
import gc
import sys
import threading

import ferrio
import pytest


def test_the_current_task_is_the_one_that_runs(loop):
    async def child():
        before = asyncio.current_task()
        await asyncio.sleep(0)
        return before, asyncio.current_task(loop)

    async def main():
        tasks = [ferrio.Task(child(), loop=loop) for _ in range(3)]
        for task in tasks:
            before, after = await task
            assert before is task
            assert after is task
            assert asyncio.current_task() is not task

    loop.run_until_complete(ferrio.Task(main(), loop=loop))
    assert asyncio.current_task(loop) is None


def test_a_task_is_current_again_after_whatever_ran_in_between(loop):
    seen = []

    async def child(between):
        mine = asyncio.current_task()
        for run in between:
            run()
            await asyncio.sleep(0)
            seen.append(asyncio.current_task() is mine)

    def callback():
        loop.call_soon(lambda: seen.append(asyncio.current_task() is None))

    async def main():
        # Alone, after a callback, and after another task.
        await ferrio.Task(child([int, int, callback, int]), loop=loop)
        await asyncio.wait([ferrio.Task(child([int, callback, int]), loop=loop) for _ in "ab"])

    loop.run_until_complete(ferrio.Task(main(), loop=loop))
    assert seen == [True] * 13


def test_a_task_is_current_again_after_another_loop_ran_in_its_thread():
    async def main():
        outer, task = asyncio.get_running_loop(), asyncio.current_task()
        asyncio._set_running_loop(None)
        inner = ferrio.new_event_loop()
        inner.run_until_complete(ferrio.sleep(0))
        inner.close()
        asyncio._set_running_loop(outer)
        await ferrio.sleep(0)
        return asyncio.current_task() is task

    assert ferrio.run(main())


def test_no_task_is_current_in_a_callback(loop):
    seen = []

    async def main():
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        loop.call_later(0, lambda: seen.append(asyncio.current_task()))
        future = loop.create_future()
        future.add_done_callback(lambda _: seen.append(asyncio.current_task()))
        future.set_result(None)
        while len(seen) < 3:
            await asyncio.sleep(0)

    loop.run_until_complete(ferrio.Task(main(), loop=loop))
    assert seen == [None] * 3


def test_no_task_is_current_in_another_thread(loop):
    async def main():
        return await loop.run_in_executor(None, ask)

    def ask():
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.current_task()
        return "asked"

    assert loop.run_until_complete(ferrio.Task(main(), loop=loop)) == "asked"
    loop.run_until_complete(loop.shutdown_default_executor())


def test_tasks_of_both_kinds_on_one_loop(loop):
    async def who(task_class):
        for _ in range(3):
            assert type(asyncio.current_task()) is task_class
            await asyncio.sleep(0)

    async def main():
        classes = [asyncio.Task, ferrio.Task] * 3
        await asyncio.gather(*[cls(who(cls), loop=loop) for cls in classes])

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager start before")
def test_an_eager_task_is_current_until_it_waits(loop):
    async def child():
        assert asyncio.current_task().get_name() == "child"
        assert asyncio.current_task() in asyncio.all_tasks()
        await asyncio.sleep(0)
        assert asyncio.current_task().get_name() == "child"

    async def main():
        mine = asyncio.current_task()
        task = ferrio.Task(child(), loop=loop, name="child", eager_start=True)
        assert asyncio.current_task() is mine
        assert task in asyncio.all_tasks()
        await task
        assert task not in asyncio.all_tasks()

    loop.run_until_complete(ferrio.Task(main(), loop=loop))


def test_all_tasks_are_those_that_are_not_done(loop):
    async def main():
        mine = asyncio.current_task()
        tasks = [ferrio.Task(asyncio.sleep(0), loop=loop) for _ in range(5)]
        theirs = asyncio.Task(asyncio.sleep(0), loop=loop)
        assert asyncio.all_tasks() == {mine, theirs, *tasks}
        await tasks[2]
        await asyncio.gather(*tasks, theirs)
        assert asyncio.all_tasks() == {mine}

    loop.run_until_complete(main())
    assert asyncio.all_tasks(loop) == set()


def test_all_tasks_leave_out_those_of_other_loops(loop):
    other = ferrio.new_event_loop()
    task = ferrio.Task(asyncio.sleep(0), loop=other)

    async def main():
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert asyncio.all_tasks(other) == {task}

    loop.run_until_complete(main())
    other.run_until_complete(task)
    other.close()


def test_all_tasks_forget_a_task_that_died(loop):
    loop.set_exception_handler(lambda *_: None)

    async def forever():
        await loop.create_future()

    async def main():
        tasks = [ferrio.Task(forever(), loop=loop) for _ in range(10)]
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 11
        # From the middle: the others keep their places.
        del tasks[3:7]
        gc.collect()
        assert asyncio.all_tasks() == {asyncio.current_task(), *tasks}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(main())


def test_all_tasks_can_be_asked_for_from_the_exception_handler(loop):
    """A task that is being destroyed is not shown, lest somebody bring it back to life."""
    seen = []
    loop.set_exception_handler(lambda loop, _: seen.append(len(asyncio.all_tasks(loop))))

    async def forever():
        await loop.create_future()

    async def main():
        ferrio.Task(forever(), loop=loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()

    loop.run_until_complete(main())
    assert seen == [1]


def test_all_tasks_while_another_thread_makes_tasks():
    """Each thread has its loop; the record of all tasks is common to them."""
    stop = threading.Event()
    failures = []

    def work():
        loop = ferrio.new_event_loop()

        async def main():
            while not stop.is_set():
                await asyncio.gather(*[asyncio.sleep(0) for _ in range(20)])
                if len(asyncio.all_tasks()) != 1:
                    failures.append(asyncio.all_tasks())

        loop.run_until_complete(main())
        loop.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    loop = ferrio.new_event_loop()
    for _ in range(300):
        assert asyncio.all_tasks(loop) == set()
    stop.set()
    for thread in threads:
        thread.join()
    loop.close()
    assert failures == []


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the interpreter's own record since")
def test_asyncio_s_set_of_tasks_is_still_a_set():
    name = "_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks"
    tasks = getattr(asyncio.tasks, name)
    loop = ferrio.new_event_loop()
    ours = ferrio.Task(asyncio.sleep(0), loop=loop)
    theirs = asyncio.Task(asyncio.sleep(0), loop=loop)
    assert {ours, theirs} <= set(tasks)
    assert ours in tasks
    assert theirs in tasks
    assert object not in tasks
    assert len(tasks) == len(list(tasks))
    assert {ours, theirs} <= set(tasks.copy())
    loop.run_until_complete(asyncio.wait([ours, theirs]))
    assert ours not in tasks
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no call graph before")
def test_the_call_graph_shows_who_awaits_whom(loop):
    async def inner():
        graph.append(asyncio.capture_call_graph())
        await asyncio.sleep(0)

    async def outer():
        await ferrio.Task(inner(), loop=loop, name="inner")

    async def main():
        await ferrio.Task(outer(), loop=loop, name="outer")

    graph = []
    loop.run_until_complete(ferrio.Task(main(), loop=loop, name="main"))
    names = []
    node = graph[0]
    while node is not None:
        names.append(node.future.get_name())
        node = node.awaited_by[0] if node.awaited_by else None
    assert names == ["inner", "outer", "main"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="no call graph before")
def test_the_call_graph_forgets_who_is_done_waiting(loop):
    async def main():
        future = ferrio.Future(loop=loop)
        first, second = (ferrio.Task(wait(future), loop=loop) for _ in range(2))
        await asyncio.sleep(0)
        assert future._asyncio_awaited_by == {first, second}
        future.set_result(None)
        await asyncio.gather(first, second)
        assert not future._asyncio_awaited_by

    async def wait(future):
        await future

    loop.run_until_complete(main())
