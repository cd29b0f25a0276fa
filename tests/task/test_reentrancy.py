"""Callbacks and comparisons may do anything to the future that calls them."""

import asyncio
import contextlib
import gc
import sys

import ferrio
import pytest


class Equal:
    """A callback that is equal to everything, and does something when it is compared."""

    def __init__(self, action=lambda: None, answer=True):
        self.action = action
        self.answer = answer

    def __call__(self, future):
        pass

    def __eq__(self, other):
        self.action()
        return self.answer

    __hash__ = None


@pytest.mark.parametrize("before", range(4), ids=lambda n: f"{n} callbacks")
@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("act", ["set_result", "cancel", "add", "remove", "init"])
def test_a_comparison_that_changes_the_callbacks(before, answer, act, loop):
    future = ferrio.Future(loop=loop)

    def action():
        if act == "set_result" and not future.done():
            future.set_result(None)
        elif act == "cancel":
            future.cancel()
        elif act == "add" and len(future._callbacks or ()) < 20:
            future.add_done_callback(len)
        elif act == "remove":
            evil.action = lambda: None
            future.remove_done_callback(evil)
        elif act == "init":
            evil.action = lambda: None
            # From 3.15 on that is refused.
            with contextlib.suppress(RuntimeError):
                future.__init__(loop=loop)

    evil = Equal(action, answer)
    for _ in range(before):
        future.add_done_callback(evil)
    future.remove_done_callback("none of them")
    gc.collect()
    # What is left is a list that can be walked and removed from.
    for callback, _ in list(future._callbacks or ()):
        future.remove_done_callback(callback)
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_comparison_that_raises(loop):
    def fail():
        raise ZeroDivisionError

    for others in range(3):
        future = ferrio.Future(loop=loop)
        for _ in range(others):
            future.add_done_callback(len)
        future.add_done_callback(Equal(fail))
        with pytest.raises(ZeroDivisionError):
            future.remove_done_callback("anything")
        assert len(future._callbacks) == others + 1


def test_callbacks_added_by_a_callback_run_after(loop):
    async def main():
        order = []
        future = ferrio.Future(loop=loop)

        def first(future):
            order.append("first")
            future.add_done_callback(lambda _: order.append("added"))

        future.add_done_callback(first)
        future.add_done_callback(lambda _: order.append("second"))
        future.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        return order

    assert loop.run_until_complete(main()) == ["first", "second", "added"]


def test_a_callback_drops_the_last_reference(loop):
    async def main():
        holder = {"future": ferrio.Future(loop=loop)}
        done = []

        def drop(future):
            holder.clear()
            gc.collect()
            done.append(future.result())

        holder["future"].add_done_callback(drop)
        holder["future"].set_result(7)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return done

    assert loop.run_until_complete(main()) == [7]


@pytest.mark.parametrize("act", ["add_done_callback", "remove_done_callback", "cancel"])
def test_call_soon_changes_the_callbacks(act):
    """A loop's call_soon may be anything; CPython tests the same."""

    class Loop(asyncio.SelectorEventLoop):
        def call_soon(self, callback, *args, context=None):
            if watched:
                getattr(watched.pop(), act)(len)
            return super().call_soon(callback, *args, context=context)

    loop = Loop()
    future = ferrio.Future(loop=loop)
    for _ in range(3):
        future.add_done_callback(len)
    watched = [future]
    future.set_result("text")
    assert watched == []
    assert future.result() == "text"
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


def test_call_soon_that_fails_takes_the_other_callbacks_with_it():
    class Loop(asyncio.SelectorEventLoop):
        def call_soon(self, *args, **kwargs):
            raise ZeroDivisionError

    loop = Loop()
    future = ferrio.Future(loop=loop)
    for _ in range(3):
        future.add_done_callback(len)
    with pytest.raises(ZeroDivisionError):
        future.set_result(None)
    assert future.done()
    assert future._callbacks is None
    loop.close()


def test_a_done_callback_of_a_task_sees_it_done(loop):
    async def main():
        seen = []
        task = ferrio.Task(asyncio.sleep(0, "slept"), loop=loop)
        task.add_done_callback(lambda task: seen.append(task.result()))
        await task
        return seen

    assert loop.run_until_complete(main()) == ["slept"]


def test_a_task_cancels_itself_and_its_waiter(loop):
    async def main():
        future = ferrio.Future(loop=loop)
        future.add_done_callback(lambda _: task.cancel())

        async def waits():
            try:
                await future
            except asyncio.CancelledError:
                return "cancelled"

        task = ferrio.Task(waits(), loop=loop)
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert loop.run_until_complete(main()) == "cancelled"


def test_a_callback_of_a_future_removes_the_one_behind_it(loop):
    """Both are scheduled by then: it is too late."""

    async def main():
        called = []
        future = ferrio.Future(loop=loop)

        def second(_):
            called.append("second")

        def first(_):
            called.append(future.remove_done_callback(second))

        future.add_done_callback(first)
        future.add_done_callback(second)
        future.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return called

    assert loop.run_until_complete(main()) == [0, "second"]


def test_a_callable_taken_from_callbacks_wakes_the_task(loop):
    """What stands in `_callbacks` for a task is equal to itself, can be called and removed."""

    async def main():
        future = ferrio.Future(loop=loop)

        async def waits():
            return await future

        task = ferrio.Task(waits(), loop=loop)
        await asyncio.sleep(0)
        [(wakeup, context)] = future._callbacks
        assert wakeup.__self__ is task
        assert context is not None
        assert future.remove_done_callback(wakeup) == 1
        assert future._callbacks is None
        future.set_result("woken")
        loop.call_soon(wakeup, future, context=context)
        return await task

    assert loop.run_until_complete(main()) == "woken"


def test_a_task_woken_by_hand_is_not_confused(loop):
    async def main():
        future = ferrio.Future(loop=loop)

        async def waits():
            return await future

        task = ferrio.Task(waits(), loop=loop)
        await asyncio.sleep(0)
        [(wakeup, context)] = future._callbacks
        loop.call_soon(wakeup, Result(), context=context)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # It waits again; the callback of its first wait is still there, and will find it done.
        assert len(future._callbacks) == 2
        reported = []
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        future.set_result("told")
        result = await task
        await asyncio.sleep(0)
        assert [type(error) for error in reported] == [asyncio.InvalidStateError]
        return result

    class Result:
        def result(self):
            return None

    assert loop.run_until_complete(main()) == "told"


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="a future is initialised once")
@pytest.mark.parametrize("last", ["asyncio", "ferrio"])
def test_a_result_that_initialises_its_future_again_when_it_goes(last):
    loops = {"asyncio": asyncio.SelectorEventLoop(), "ferrio": ferrio.new_event_loop()}
    outer = loops.pop(last)
    [(_, inner)] = loops.items()

    class Evil:
        def __del__(self):
            future.__init__(loop=inner)

    future = ferrio.Future(loop=inner)
    future.set_result(Evil())
    future.__init__(loop=outer)
    assert future.get_loop() is outer
    called = []
    future.add_done_callback(called.append)
    future.set_result(None)
    outer.call_soon(outer.stop)
    outer.run_forever()
    assert called == [future]
    inner.close()
    outer.close()
