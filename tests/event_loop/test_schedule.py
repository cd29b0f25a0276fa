"""`call_soon`, `call_soon_threadsafe` and what they return; contexts; `stop`."""

import asyncio
import contextvars
import sys
import threading
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


def run_until_idle(loop: Loop) -> None:
    """Run what is scheduled now, and what the turns up to the stop add to it."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_callbacks_run_in_the_order_of_their_calls(loop: Loop) -> None:
    order: list[int] = []
    for number in range(100):
        loop.call_soon(order.append, number)
    run_until_idle(loop)
    assert order == list(range(100))


@pytest.mark.parametrize("args", [(), (1,), ((1, 2),), (1, 2), (None, [], "x", 4, 5)])
def test_a_callback_gets_its_arguments(loop: Loop, args: tuple[Any, ...]) -> None:
    got: list[Any] = []
    loop.call_soon(lambda *given: got.append(given), *args)
    run_until_idle(loop)
    assert got == [args]


def test_what_a_callback_schedules_runs_in_the_next_turn(loop: Loop) -> None:
    order: list[str] = []

    def first() -> None:
        order.append("first")
        loop.call_soon(order.append, "next turn")

    loop.call_soon(first)
    loop.call_soon(order.append, "second")
    loop.call_soon(loop.stop)
    loop.call_soon(order.append, "same turn as the stop")
    loop.run_forever()
    assert order == ["first", "second", "same turn as the stop"]
    run_until_idle(loop)
    assert order[3:] == ["next turn"]


def test_stop_before_the_run_lets_one_turn_run(loop: Loop) -> None:
    order: list[int] = []

    def again() -> None:
        order.append(len(order))
        loop.call_soon(again)

    loop.call_soon(again)
    loop.stop()
    loop.run_forever()
    assert order == [0]


def test_a_cancelled_callback_does_not_run(loop: Loop) -> None:
    order: list[str] = []
    handle = loop.call_soon(order.append, "cancelled")
    loop.call_soon(order.append, "kept")
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    run_until_idle(loop)
    assert order == ["kept"]


def test_a_callback_may_cancel_a_later_one_of_its_turn(loop: Loop) -> None:
    order: list[str] = []
    handles: list[asyncio.Handle] = []
    loop.call_soon(lambda: handles[0].cancel())
    handles.append(loop.call_soon(order.append, "cancelled"))
    run_until_idle(loop)
    assert order == []


def test_a_handle_that_ran_is_not_cancelled_by_that(loop: Loop) -> None:
    handle = loop.call_soon(int)
    run_until_idle(loop)
    assert not handle.cancelled()


def test_the_repr_of_a_handle_tells_what_it_calls(loop: Loop) -> None:
    handle = loop.call_soon(print, 1, "two")
    # From 3.12 on the arguments are shown in debug mode only.
    assert repr(handle) in ("<Handle print(1, 'two')>", "<Handle print()>")
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"
    loop.set_debug(True)
    handle = loop.call_soon(print, 1, "two")
    assert repr(handle).startswith("<Handle print(1, 'two') created at ")
    handle.cancel()
    assert repr(handle).startswith("<Handle cancelled print(1, 'two') created at ")


def test_an_exception_does_not_stop_the_others(loop: Loop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    order: list[str] = []
    handle = loop.call_soon(int, "x")
    loop.call_soon(order.append, "ran")
    run_until_idle(loop)
    assert order == ["ran"]
    assert type(reports[0]["exception"]) is ValueError
    assert reports[0]["handle"] is handle
    assert reports[0]["message"].startswith("Exception in callback ")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_exit_leaves_the_loop_and_the_rest_runs_later(
    loop: Loop, kind: type[BaseException]
) -> None:
    order: list[str] = []

    def leave() -> None:
        raise kind

    loop.call_soon(leave)
    loop.call_soon(order.append, "later")
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    assert order == []
    run_until_idle(loop)
    assert order == ["later"]


def test_a_callback_runs_in_a_copy_of_the_context_of_its_call(loop: Loop) -> None:
    seen: list[str] = []

    def callback() -> None:
        seen.append(variable.get())
        variable.set("set in the callback")

    token = variable.set("at the call")
    loop.call_soon(callback)
    loop.call_later(0, callback)
    loop.call_soon_threadsafe(callback)
    variable.reset(token)
    while len(seen) < 3:
        run_until_idle(loop)
    assert seen == ["at the call"] * 3
    assert variable.get() == "outside"


@pytest.mark.parametrize("asked", ["before", "meanwhile", "after"])
def test_a_callback_from_a_thread_has_a_context_of_its_own(loop: Loop, asked: str) -> None:
    seen: list[tuple[str, int]] = []
    handles: list[asyncio.Handle] = []
    contexts: list[Any] = []

    def callback(number: int) -> None:
        seen.append((variable.get(), len(contextvars.copy_context())))
        variable.set(f"set in {number}")
        if asked == "meanwhile":
            contexts.append(handles[number]._context)  # type: ignore[attr-defined]

    def other() -> None:
        # Most threads begin with nothing in their context; free-threaded builds have them inherit.
        for number in range(2):
            handle = contextvars.Context().run(loop.call_soon_threadsafe, callback, number)
            handles.append(handle)
            if asked == "before":
                contexts.append(handle._context)  # type: ignore[attr-defined]

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    token = variable.set("the loop's")
    run_until_idle(loop)
    variable.reset(token)
    if asked == "after":
        contexts += [handle._context for handle in handles]  # type: ignore[attr-defined]
    assert seen == [("outside", 0)] * 2
    assert [context[variable] for context in contexts] == ["set in 0", "set in 1"]


def test_a_callback_runs_in_the_context_given(loop: Loop) -> None:
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    seen: list[str] = []

    def callback() -> None:
        seen.append(variable.get())
        variable.set("kept")

    handle = loop.call_soon(callback, context=context)
    run_until_idle(loop)
    assert seen == ["given"]
    assert context[variable] == "kept"
    if hasattr(handle, "get_context"):  # From 3.12 on.
        assert handle.get_context() is context


def test_a_context_that_is_entered_already_is_an_error_of_its_callback_alone(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[str] = []
    context = contextvars.copy_context()
    loop.call_soon(order.append, "never", context=context)
    loop.call_soon(order.append, "ran")
    context.run(run_until_idle, loop)
    assert order == ["ran"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "is already entered" in str(record.exc_info[1])


def test_a_thread_wakes_a_loop_that_waits(loop: Loop) -> None:
    done = loop.create_future()

    def other() -> None:
        loop.call_soon_threadsafe(done.set_result, threading.get_ident())

    async def main() -> Any:
        thread = threading.Thread(target=other)
        # Begun by the loop's last callback before it waits.
        loop.call_soon(thread.start)
        result = await done
        thread.join()
        return result

    assert loop.run_until_complete(main()) != threading.get_ident()


def test_threads_lose_nothing_and_keep_their_order(loop: Loop) -> None:
    threads, calls = 4, 2000
    got: list[tuple[int, int]] = []
    done = loop.create_future()

    def receive(thread: int, number: int) -> None:
        assert threading.get_ident() == home
        got.append((thread, number))
        if len(got) == threads * calls:
            done.set_result(None)

    def send(thread: int) -> None:
        for number in range(calls):
            loop.call_soon_threadsafe(receive, thread, number)

    home = threading.get_ident()
    workers = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_until_complete(done)
    for worker in workers:
        worker.join()
    for thread in range(threads):
        assert [number for who, number in got if who == thread] == list(range(calls))


@pytest.mark.skipif(sys.version_info < (3, 14), reason="from Python 3.14 on")
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_cancelling_waits_while_another_thread_runs_the_callback(loop: Loop, method: str) -> None:
    order: list[str] = []
    begun, may_end = threading.Event(), threading.Event()

    def callback() -> None:
        begun.set()
        may_end.wait()
        order.append("called")

    def other() -> None:
        handle = loop.call_soon_threadsafe(callback)
        begun.wait()
        # Who doesn't wait comes first: nobody waits for that.
        threading.Timer(0.05, may_end.set).start()
        getattr(handle, method)()
        order.append("over")
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    thread.start()
    loop.run_forever()
    thread.join()
    assert order == ["called", "over"]


def test_a_thread_safe_callback_may_cancel_itself(loop: Loop) -> None:
    seen: list[bool] = []

    def callback() -> None:
        handle.cancel()
        seen.append(handle.cancelled())

    handle = loop.call_soon_threadsafe(callback)
    run_until_idle(loop)
    assert seen == [True]
    cancelled = loop.call_soon_threadsafe(callback)
    cancelled.cancel()
    run_until_idle(loop)
    assert seen == [True]


def test_a_running_loop_knows_it_and_its_thread(loop: Loop) -> None:
    async def main() -> tuple[bool, bool]:
        return loop.is_running(), asyncio.get_running_loop() is loop

    assert not loop.is_running()
    assert loop.run_until_complete(main()) == (True, True)
    assert not loop.is_running()


def test_close_drops_what_is_scheduled(loop: Loop) -> None:
    order: list[str] = []
    loop.call_soon(order.append, "soon")
    loop.call_later(0, order.append, "later")
    loop.close()
    assert loop.is_closed()
    assert order == []


def test_time_is_the_monotonic_clock_in_seconds(loop: Loop) -> None:
    import time

    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_what_dies_before_the_loop_waits_may_schedule_something(loop: Loop) -> None:
    """The loop keeps the task that ran last, and lets go of it when it is about to wait."""

    class Result:
        def __del__(self) -> None:
            loop.call_soon(done.set_result, None)

    async def child() -> Result:
        return Result()

    async def main() -> None:
        loop.create_task(child())
        await asyncio.wait_for(done, 20)

    done = loop.create_future()
    loop.run_until_complete(main())
