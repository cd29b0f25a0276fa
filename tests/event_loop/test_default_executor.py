"""The threads of the default executor: who they are, what becomes of what they return, and how they end."""

import asyncio
import concurrent.futures
import functools
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import ferrio
import pytest
from ferrio import _ferrio

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def only(make_loop: Callable[[], Loop]) -> Iterator[Loop]:
    """A loop whose default executor has one thread and makes no more."""
    loop = make_loop()
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor_of(loop)._max_workers = 1
    yield loop
    loop.close()


def executor_of(loop: Any) -> Any:
    return loop._default_executor


def drop(held: list[Loop]) -> None:
    held.clear()
    gc.collect()


def test_it_is_a_thread_pool_executor(loop: Loop) -> None:
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = executor_of(loop)
    assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    assert executor.submit(divmod, 7, 3).result(60) == (2, 1)
    assert executor._work_queue.qsize() == 0


def test_its_threads_are_named_and_used_again(loop: Loop) -> None:
    async def main() -> set[threading.Thread]:
        return {await loop.run_in_executor(None, threading.current_thread) for _ in range(50)}

    threads = loop.run_until_complete(main())
    assert {thread.name.split("_")[0] for thread in threads} == {"asyncio"}
    # asyncio's thread may not have said yet that it is free.
    assert len(threads) == 1 or not isinstance(loop, ferrio.Loop)
    assert not any(thread.daemon for thread in threads)


def test_there_is_a_thread_for_each_call_up_to_the_limit(loop: Loop) -> None:
    loop.run_until_complete(loop.run_in_executor(None, int))
    limit = executor_of(loop)._max_workers
    barrier = threading.Barrier(limit + 1)

    async def main() -> list[int]:
        calls = [loop.run_in_executor(None, barrier.wait, 60) for _ in range(limit)]
        barrier.wait(60)
        more = [loop.run_in_executor(None, pow, 2, number) for number in range(3 * limit)]
        assert len(set(await asyncio.gather(*calls))) == limit
        return await asyncio.gather(*more)

    assert loop.run_until_complete(main()) == [2**number for number in range(3 * limit)]
    assert len(executor_of(loop)._threads) == limit


def test_a_call_begins_while_the_loop_is_busy(loop: Loop) -> None:
    async def main() -> None:
        for _ in range(3):
            began = threading.Event()
            call = loop.run_in_executor(None, began.set)
            assert began.wait(60)
            await call

    loop.run_until_complete(main())


def test_any_number_of_arguments(loop: Loop) -> None:
    def arguments(*args: int) -> tuple[int, ...]:
        return args

    async def main() -> None:
        for count in range(4):
            given = tuple(range(count))
            assert await loop.run_in_executor(None, arguments, *given) == given
            assert await loop.run_in_executor(None, func=lambda: 5) == 5  # type: ignore[call-arg]

    with pytest.raises(TypeError):
        loop.run_in_executor(None)  # type: ignore[call-arg]
    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (ValueError("no"), ValueError),
        (TimeoutError("late"), TimeoutError),
        (asyncio.CancelledError("mine"), asyncio.CancelledError),
        (concurrent.futures.CancelledError("theirs"), asyncio.CancelledError),
        (concurrent.futures.InvalidStateError("odd"), asyncio.InvalidStateError),
        (GeneratorExit("end"), GeneratorExit),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else value.__name__,
)
def test_what_a_function_raises_is_raised_from_its_future(
    loop: Loop, raised: BaseException, caught: type[BaseException]
) -> None:
    def fail() -> None:
        raise raised

    async def main() -> BaseException | None:
        call = loop.run_in_executor(None, fail)
        await asyncio.wait([call])
        return call.exception()

    exception = loop.run_until_complete(main())
    assert type(exception) is caught
    assert exception.args == raised.args
    if exception is not raised and not isinstance(loop, ferrio.Loop):
        return  # Older asyncios translate it without its traceback.
    frames, traceback = [], exception.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "fail"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_in_a_thread_ends_the_task_that_waits(
    loop: Loop, kind: type[BaseException]
) -> None:
    def leave() -> None:
        raise kind("now")

    async def main() -> None:
        await loop.run_in_executor(None, leave)

    with pytest.raises(kind, match="now"):
        loop.run_until_complete(main())


def test_what_is_cancelled_before_its_turn_does_not_run(only: Loop) -> None:
    go = threading.Event()
    ran: list[int] = []

    async def main() -> None:
        first = only.run_in_executor(None, go.wait, 60)
        calls = [only.run_in_executor(None, ran.append, number) for number in range(4)]
        calls[1].cancel()
        calls[2].cancel("no need")
        # asyncio tells its executor in the next turn.
        await asyncio.sleep(0)
        go.set()
        await first
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [
            type(None),
            asyncio.CancelledError,
            asyncio.CancelledError,
            type(None),
        ]

    only.run_until_complete(main())
    assert ran == [0, 3]


def test_what_is_cancelled_while_it_runs_is_forgotten(loop: Loop) -> None:
    began, go, ended = threading.Event(), threading.Event(), threading.Event()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    def fail() -> None:
        began.set()
        go.wait(60)
        ended.set()
        raise ValueError("nobody asked")

    async def main() -> None:
        call = loop.run_in_executor(None, fail)
        assert began.wait(60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go.set()
        assert ended.wait(60)
        await loop.run_in_executor(None, int)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect()
    assert reports == []


def test_a_future_that_somebody_ended_already_is_reported(loop: Loop) -> None:
    go = threading.Event()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def main() -> None:
        # Before a thread can take it: the function runs all the same.
        call: Any = loop.run_in_executor(None, go.wait, 60)
        call.set_result("mine")
        go.set()
        assert await call == "mine"
        await loop.shutdown_default_executor()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(reports) == 1
    assert reports[0]["message"].startswith("Exception in callback")


def test_what_ends_after_the_loop_was_closed_is_forgotten(make_loop: Callable[[], Loop]) -> None:
    loop = make_loop()
    go = threading.Event()
    waiting = loop.run_in_executor(None, go.wait, 60)
    cancelled = loop.run_in_executor(None, go.wait, 60)
    cancelled.cancel()
    threads = list(executor_of(loop)._threads)
    loop.close()
    go.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not waiting.done()


def test_a_closed_loop_s_executor_finishes_what_waits(only: Loop) -> None:
    go = threading.Event()
    ran: list[int] = []

    async def main() -> None:
        only.run_in_executor(None, go.wait, 60)
        for number in range(3):
            only.run_in_executor(None, ran.append, number)

    only.run_until_complete(main())
    (thread,) = executor_of(only)._threads
    only.close()
    go.set()
    thread.join(60)
    assert ran == [0, 1, 2]
    with pytest.raises(RuntimeError, match="closed"):
        only.run_in_executor(None, int)


def test_after_a_shutdown_of_the_executor_itself_calls_are_refused(loop: Loop) -> None:
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor_of(loop).shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        loop.run_in_executor(None, int)


def test_a_shutdown_that_cancels_what_waits(only: Loop) -> None:
    began, go = threading.Event(), threading.Event()
    ran: list[int] = []

    def wait() -> bool:
        began.set()
        return go.wait(60)

    async def main() -> None:
        first = only.run_in_executor(None, wait)
        assert began.wait(60)
        calls = [only.run_in_executor(None, ran.append, 1) for _ in range(3)]
        submitted = executor_of(only).submit(ran.append, 2)
        executor_of(only).shutdown(wait=False, cancel_futures=True)
        go.set()
        assert await first
        for call in calls:
            with pytest.raises(asyncio.CancelledError):
                await call
        assert submitted.cancelled()

    only.run_until_complete(main())
    assert ran == []


def test_calls_and_submissions_run_in_their_order(only: Loop) -> None:
    ran: list[int] = []

    async def main() -> None:
        go = threading.Event()
        first = only.run_in_executor(None, go.wait, 60)
        for number in range(0, 10, 2):
            only.run_in_executor(None, ran.append, number)
            executor_of(only).submit(ran.append, number + 1)
        last = only.run_in_executor(None, ran.append, 10)
        go.set()
        await asyncio.gather(first, last)

    only.run_until_complete(main())
    assert ran == list(range(11))


def test_a_loop_that_nobody_keeps_ends_its_threads(make_loop: Callable[[], Loop]) -> None:
    loop = make_loop()
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor_of(loop).submit(int).result(
        60
    )  # The thread has let go of the call before, which has the loop.
    threads = list(executor_of(loop)._threads)
    held = [loop]
    del loop
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        drop(held)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_call_that_waits_is_collected_with_its_loop(make_loop: Callable[[], Loop]) -> None:
    loop = make_loop()
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor_of(loop).shutdown()
    executor = type(executor_of(loop))()
    # No thread will ever take it.
    executor._max_workers = 0
    loop.set_default_executor(executor)

    class Function:
        def __init__(self, *kept: object) -> None:
            self.kept = kept

        def __call__(self) -> None: ...

    function = Function(loop, executor)
    loop.run_in_executor(None, function)
    assert executor._work_queue.qsize() == 1
    alive = weakref.ref(function)
    loop.close()
    del function, loop, executor
    gc.collect()
    assert alive() is None


def test_a_queue_that_holds_itself_is_collected() -> None:
    class Item:
        def __init__(self, queue: object) -> None:
            self.queue = queue

    queue = _ferrio.WorkQueue()
    item = Item(queue)
    queue.put(item)
    alive = weakref.ref(item)
    del item, queue
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("debug", [False, True])
def test_who_overrides_call_soon_threadsafe_sees_the_end_of_each_call(
    make_loop: Callable[[], Loop], debug: bool
) -> None:
    seen: list[int] = []
    go = threading.Event()

    first = make_loop()
    first.close()

    class Watched(type(first)):  # type: ignore[misc]
        def call_soon_threadsafe(self, callback: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(threading.get_ident())
            return super().call_soon_threadsafe(callback, *args, **kwargs)

    loop = Watched()
    loop.set_debug(debug)
    call = loop.run_in_executor(None, go.wait, 60)
    go.set()
    assert loop.run_until_complete(call) is True
    loop.close()
    assert len(seen) == 1
    assert seen[0] != threading.get_ident()


def test_what_is_reported_while_a_call_ends_is_logged(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    began, go = threading.Event(), threading.Event()

    class Result:
        def __del__(self) -> None:
            loop.call_exception_handler({"message": "look"})

    def work() -> Result:
        began.set()
        go.wait(60)
        return Result()

    async def main() -> None:
        call = loop.run_in_executor(None, work)
        assert began.wait(60)
        # The loop lets go of a result that nobody waits for.
        call.cancel()
        loop.set_debug(True)
        go.set()
        await loop.shutdown_default_executor()
        await asyncio.sleep(0)
        gc.collect()

    with caplog.at_level(logging.ERROR, "asyncio"):
        loop.run_until_complete(main())
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == ["look"]


@pytest.mark.parametrize("way", ["an argument", "arguments", "the function"])
def test_the_loop_goes_on_while_what_a_call_used_comes_to_its_end(loop: Loop, way: str) -> None:
    go, told = threading.Event(), threading.Event()
    waited: list[bool] = []

    class Slow:
        def __del__(self) -> None:
            waited.append(told.wait(20))

    def work(*_: object) -> bool:
        return go.wait(60)

    async def main() -> None:
        if way == "an argument":
            call = loop.run_in_executor(None, work, Slow())
        elif way == "arguments":
            call = loop.run_in_executor(None, work, 1, Slow())
        else:
            call = loop.run_in_executor(None, functools.partial(work, Slow()))
        go.set()
        await call
        told.set()
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    assert waited == [True]


def test_a_submit_of_one_s_own_is_called(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted: list[Any] = []
    genuine = concurrent.futures.ThreadPoolExecutor.submit

    def submit(self: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        submitted.append(function)
        return genuine(self, function, *args, **kwargs)

    async def main() -> None:
        await loop.run_in_executor(None, int)
        monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", submit)
        assert await loop.run_in_executor(None, divmod, 7, 3) == (2, 1)
        monkeypatch.undo()
        await loop.run_in_executor(None, float)

    loop.run_until_complete(main())
    assert submitted == [divmod]


def test_when_the_interpreter_shuts_down_calls_are_refused(
    make_loop: Callable[[], Loop], monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    busy, fresh = make_loop(), make_loop()
    call = busy.run_in_executor(None, go.wait, 60)
    with monkeypatch.context() as patched:
        patched.setattr("concurrent.futures.thread._shutdown", True)
        for loop in busy, fresh:
            with pytest.raises(RuntimeError, match="after interpreter shutdown"):
                loop.run_in_executor(None, int)
    go.set()
    if isinstance(busy, ferrio.Loop):
        # Its queue takes no more, and its thread ends when it has nothing to do.
        executor_of(busy)._shutdown = True
    assert busy.run_until_complete(call)
    busy.close()
    fresh.close()


def test_a_worker_that_fails_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.run_until_complete(loop.run_in_executor(None, int))

    def leave(_: object) -> None:
        raise SystemExit("now")

    with caplog.at_level(logging.CRITICAL, "concurrent.futures"):
        go = threading.Event()
        executor_of(loop).submit(go.wait, 60).add_done_callback(leave)
        go.set()
        executor_of(loop).shutdown()
    assert [record.getMessage() for record in caplog.records][-1:] == ["Exception in worker"]


def test_many_loops_use_their_threads_at_once(make_loop: Callable[[], Loop]) -> None:
    def run(results: list[int]) -> None:
        loop = make_loop()

        async def main() -> None:
            for _ in range(20):
                calls = [loop.run_in_executor(None, pow, number, 2) for number in range(20)]
                results.append(sum(await asyncio.gather(*calls)))

        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    results: list[list[int]] = [[], [], []]
    threads = [threading.Thread(target=run, args=(each,)) for each in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == [[sum(number**2 for number in range(20))] * 20] * 3
