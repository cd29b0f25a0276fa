"""The same scenarios with asyncio's combinators and with ferrio's: results, exceptions, messages, order."""

import asyncio
import contextvars
import gc
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import ferrio
import pytest

from tests.interpreter import BEFORE_REPAIRS

from .side_by_side import chain, everywhere, outcome, words

Log = list[Any]


async def value(lib: Any, result: Any, turns: int = 0) -> Any:
    for _ in range(turns):
        await lib.sleep(0)
    return result


async def fail(lib: Any, error: BaseException, turns: int = 0) -> Any:
    for _ in range(turns):
        await lib.sleep(0)
    raise error


async def stubborn(lib: Any, result: Any) -> Any:
    """Ignores one cancellation."""
    try:
        await lib.sleep(1000)
    except asyncio.CancelledError:
        return result


class Awaitable_:
    """What can be awaited and is neither a coroutine nor a future."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


SCENARIOS: list[Callable[[Any], Awaitable[Any]]] = []


def scenario(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    SCENARIOS.append(function)
    return function


@scenario
async def waits_of_nothing_and_of_what_can_t_be_watched(lib: Any) -> Any:
    class Unwatchable(lib.Future):  # type: ignore[misc]
        def add_done_callback(self, *_: Any, **__: Any) -> None:
            raise KeyError("add")

        def remove_done_callback(self, *_: Any) -> int:
            raise KeyError("remove")

    loop = asyncio.get_running_loop()
    future = lib.Future(loop=loop)
    return [
        await outcome(lib.wait(iter(()))),
        await outcome(lib.wait(map(str, ()))),
        await outcome(lib.wait([future, 5])),
        await outcome(lib.wait([future, Unwatchable(loop=loop)])),
    ]


@scenario
async def futures_of_several_classes_end_in_one_turn(lib: Any) -> Any:
    class Future(lib.Future):  # type: ignore[misc]
        pass

    class Task(lib.Task):  # type: ignore[misc]
        pass

    loop = asyncio.get_running_loop()
    log: Log = []

    async def watch(name: str, awaitable: Awaitable[Any]) -> None:
        await awaitable
        log.append(name)

    async def group(first: Any, second: Any) -> None:
        async with lib.TaskGroup() as tasks:
            loop.set_task_factory(lambda loop, coro, **keywords: Task(coro, loop=loop, **keywords))
            tasks.create_task(watch("first", first))
            loop.set_task_factory(None)
            tasks.create_task(watch("second", second))

    for gathers in "gather", "wait", "group":
        first, second, between = Future(loop=loop), lib.Future(loop=loop), loop.create_future()
        if gathers == "group":
            whole = group(first, second)
        elif gathers == "gather":
            whole = watch("whole", lib.gather(first, second))
        else:
            whole = watch("whole", lib.wait([first, second]))
        tasks = [lib.create_task(whole)]
        tasks.append(lib.create_task(watch("between", between)))
        for _ in range(4):
            await lib.sleep(0)
        first.set_result(None)
        between.set_result(None)
        loop.call_soon(lambda: loop.call_soon(log.append, "callback"))
        second.set_result(None)
        tasks[0].add_done_callback(lambda _: log.append("over"))
        for _ in range(6):
            await lib.sleep(0)
    return log


@scenario
async def as_completed_of_none(lib: Any) -> Any:
    async def collect() -> Any:
        return list(lib.as_completed(None))

    return await outcome(collect())


@scenario
async def a_group_that_has_ended_refuses(lib: Any) -> Any:
    seen = []
    async with lib.TaskGroup() as group:
        pass
    for keyword in False, True:
        coro = value(lib, 1)
        create = group.create_task
        try:
            create(coro=coro) if keyword else create(coro)
        except RuntimeError as error:
            seen.append(words(error))
        seen.append(coro.cr_frame is None)
        coro.close()
    return seen


@scenario
async def sleeps(lib: Any) -> Any:
    class Seconds(float):
        pass

    class Odd:
        def __le__(self, other: object) -> bool:
            return True

    return [
        await outcome(lib.sleep(delay, "result"))
        for delay in (0, 0.0, -1, False, 0.001, True * 0.001, Seconds(0.001), Odd(), None, "1", [])
    ]


@scenario
async def a_sleep_is_cancelled(lib: Any) -> Any:
    seen = []
    for delay in (0, 1000):
        task = lib.create_task(lib.sleep(delay))
        await lib.sleep(0)
        seen.append((task.cancel("message"), await outcome(task), task.cancelled()))
    return seen


@scenario
async def sleeps_end_by_deadline(lib: Any) -> Any:
    order: Log = []

    async def sleeper(name: str, delay: float) -> None:
        await lib.sleep(delay)
        order.append(name)

    loop = asyncio.get_running_loop()
    # Far enough apart for a busy machine to begin them all in time.
    loop.call_later(0.2, order.append, "callback at 200")
    tasks = [lib.create_task(sleeper(f"{delay}", delay / 1000)) for delay in (300, 100, 0)]
    await lib.sleep(0)
    # All are due when the loop looks again.
    time.sleep(0.4)
    await lib.gather(*tasks)
    return order


@scenario
async def tasks_are_created(lib: Any) -> Any:
    variable = contextvars.ContextVar("variable", default="unset")
    context = contextvars.copy_context()
    context.run(variable.set, "set")

    async def get() -> str:
        return variable.get()

    task = lib.create_task(get(), name=5, context=context)
    unnamed = lib.create_task(get())
    name = unnamed.get_name()
    return [task.get_name(), await task, name.startswith("Task-"), await unnamed]


@scenario
async def what_cannot_be_a_task(lib: Any) -> Any:
    seen = []
    for bad in (1, None, asyncio.get_running_loop().create_future(), len):
        try:
            lib.create_task(bad)
        except Exception as error:
            seen.append(words(error))
    return seen


@scenario
async def futures_are_ensured(lib: Any) -> Any:
    loop = asyncio.get_running_loop()
    other = asyncio.new_event_loop()
    future = loop.create_future()
    seen: Log = [
        lib.ensure_future(future) is future,
        lib.ensure_future(future, loop=loop) is future,
    ]
    for bad in (future, 1, None):
        try:
            lib.ensure_future(bad, loop=other)
        except Exception as error:
            seen.append(words(error))
    seen += [await lib.ensure_future(Awaitable_()), await lib.ensure_future(value(lib, 5))]
    other.close()
    return seen


@scenario
async def coroutines_of_a_closed_loop_are_closed(lib: Any) -> Any:
    other = asyncio.new_event_loop()
    other.close()
    coroutine = value(lib, 1)
    try:
        lib.ensure_future(coroutine, loop=other)
    except RuntimeError as error:
        return words(error), coroutine.cr_frame
    finally:
        coroutine.close()


@scenario
async def gather_in_the_order_of_its_arguments(lib: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    future.set_result("done before")
    twice = value(lib, "twice", 1)
    return await lib.gather(value(lib, 1, 3), future, twice, twice, Awaitable_(), value(lib, 2))


@scenario
async def gather_of_nothing(lib: Any) -> Any:
    empty = lib.gather()
    return empty.done(), await empty


@scenario
async def gather_what_fails(lib: Any) -> Any:
    seen = []
    for return_exceptions in (False, True, 0, "yes"):
        slow = lib.create_task(value(lib, "slow", 5))
        gathering = lib.gather(
            slow,
            fail(lib, ValueError("first"), 1),
            fail(lib, KeyError("second"), 2),
            return_exceptions=return_exceptions,
        )
        seen.append((await outcome(gathering), slow.done(), await slow))
    return seen


@scenario
async def gather_what_is_cancelled(lib: Any) -> Any:
    seen: Log = []
    for return_exceptions in (False, True):
        for message in (None, "message"):
            child = lib.create_task(lib.sleep(1000))
            gathering = lib.gather(child, value(lib, 1, 2), return_exceptions=return_exceptions)
            await lib.sleep(0)
            child.cancel(*([message] if message else []))
            seen.append(await outcome(gathering))
            seen.append((gathering.cancelled(), gathering._state))
    return seen


@scenario
async def a_gathering_is_cancelled(lib: Any) -> Any:
    seen: Log = []
    for return_exceptions in (False, True):
        done = asyncio.get_running_loop().create_future()
        done.set_result(1)
        gathering = lib.gather(
            lib.sleep(1000), stubborn(lib, 2), done, return_exceptions=return_exceptions
        )
        await lib.sleep(0)
        seen.append((gathering.cancel("message"), gathering.done()))
        seen.append(await outcome(gathering))
        seen.append((gathering.cancelled(), gathering.cancel()))
    return seen


@scenario
async def the_gatherer_is_cancelled(lib: Any) -> Any:
    child = lib.create_task(lib.sleep(1000))

    async def gatherer() -> None:
        await lib.gather(child, lib.gather(lib.sleep(1000)))

    task = lib.create_task(gatherer())
    for _ in range(3):
        await lib.sleep(0)
    task.cancel("why")
    return await outcome(task), child.cancelled(), task.cancelling()


@scenario
async def gather_what_cannot_be_awaited(lib: Any) -> Any:
    seen = []
    for bad in (1, None, [], "text"):
        child = value(lib, 1)
        try:
            lib.gather(child, bad)
        except Exception as error:
            seen.append(words(error))
        await lib.sleep(0)
    other = asyncio.new_event_loop()
    mixed = [asyncio.get_running_loop().create_future(), other.create_future()]
    try:
        lib.gather(*mixed)
    except Exception as error:
        seen.append(words(error))
    other.close()
    return seen


@scenario
async def an_error_behind_the_first_is_not_reported(lib: Any) -> Any:
    first, second = fail(lib, ValueError(1), 1), fail(lib, ValueError(2), 2)
    seen = await outcome(lib.gather(first, second))
    for _ in range(4):
        await lib.sleep(0)
    return seen


@scenario
async def a_child_may_end_another_while_it_is_gathered(lib: Any) -> Any:
    future = asyncio.get_running_loop().create_future()

    async def end() -> str:
        future.set_result("ended")
        return "end"

    return await lib.gather(future, end(), value(lib, "late", 3))


@scenario
async def shields(lib: Any) -> Any:
    seen: Log = []
    inner = lib.create_task(value(lib, "inner", 3))
    outer = lib.shield(inner)
    seen.append((outer is inner, await outer, lib.shield(inner) is inner))
    inner = lib.create_task(fail(lib, ValueError("inner"), 3))
    seen.append(await outcome(lib.shield(inner)))
    inner = lib.create_task(lib.sleep(1000))
    outer = lib.shield(inner)
    inner.cancel("message")
    seen.append((await outcome(outer), outer.cancelled()))
    inner = lib.create_task(value(lib, "goes on", 3))
    outer = lib.shield(inner)
    outer.cancel("message")
    seen.append((await outcome(outer), await inner))
    inner = lib.create_task(fail(lib, ValueError("nobody looks"), 1))
    outer = lib.shield(inner)
    outer.cancel()
    for _ in range(4):
        await lib.sleep(0)
    seen.append(inner.done())
    inner._log_traceback = False
    return seen


@scenario
async def waits(lib: Any) -> Any:
    seen: Log = []
    for when in (asyncio.ALL_COMPLETED, asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION):
        for timeout in (None, 0, 0.0, -1, 1000):
            names: dict[Any, str] = {
                lib.create_task(value(lib, 1, 1)): "quick",
                lib.create_task(fail(lib, ValueError(), 3)): "fails",
                lib.create_task(value(lib, 1, 6)): "slow",
            }
            done, pending = await lib.wait(names, timeout=timeout, return_when=when)
            seen.append(sorted(names[task] for task in done))
            seen.append(sorted(names[task] for task in pending))
            await lib.gather(*names, return_exceptions=True)
    return seen


@scenario
async def a_wait_retrieves_the_exception_that_ends_it(lib: Any) -> Any:
    """So that nothing is reported of it: `everywhere` compares the reports."""
    for ending in (fail(lib, ValueError("wanted")), fail(lib, ValueError("wanted"), 2)):
        tasks = [lib.create_task(ending), lib.create_task(lib.sleep(1000))]
        done, pending = await lib.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        seen = len(done), len(pending)
        for task in pending:
            task.cancel()
        del task, tasks, done, pending
        gc.collect()
        await lib.sleep(0)
    return seen


@scenario
async def a_wait_is_cancelled(lib: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    task = lib.create_task(lib.wait([future]))
    await lib.sleep(0)
    watched = len(future._callbacks)
    task.cancel("message")
    return watched, await outcome(task), future._callbacks, future.done()


@scenario
async def what_cannot_be_waited_for(lib: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    coroutine = value(lib, 1)
    seen = [
        await outcome(lib.wait(*args, **keywords))
        for args, keywords in (
            ([future], {}),
            ([coroutine], {}),
            ([[coroutine]], {}),
            ([[]], {}),
            ([set()], {}),
            ([None], {}),
            ([5], {}),
            ([[future]], {"return_when": -1}),
            ([[future]], {"return_when": "soon"}),
        )
    ]
    coroutine.close()
    return seen


@scenario
async def waits_for(lib: Any) -> Any:
    def late() -> list[Any]:
        return [stubborn(lib, "stubborn"), lib.sleep(1000)]

    def in_time() -> list[Any]:
        return [
            value(lib, 1),
            value(lib, 1, 2),
            fail(lib, ValueError("no")),
            lib.create_task(value(lib, 1, 2)),
            fail(lib, asyncio.CancelledError("own")),
        ]

    seen: Log = []
    for timeout, make in [
        (None, in_time),
        (10, in_time),
        (10.5, in_time),
        (0.001, late),
        *[(timeout, kind) for timeout in (0, -1, "1", []) for kind in (in_time, late)],
    ]:
        for awaitable in make():
            seen.append((str(timeout), await outcome(lib.wait_for(awaitable, timeout))))
            if hasattr(awaitable, "close"):
                awaitable.close()
    return seen


@scenario
async def a_waiter_is_cancelled(lib: Any) -> Any:
    inner = lib.create_task(lib.sleep(1000))
    task = lib.create_task(lib.wait_for(inner, 1000))
    await lib.sleep(0)
    await lib.sleep(0)
    task.cancel("message")
    return await outcome(task), inner.cancelled(), task.cancelling()


@scenario
async def a_time_out_in_the_middle_of_cancellation(lib: Any) -> Any:
    async def body() -> None:
        try:
            async with lib.timeout(0):
                await lib.sleep(1000)
        finally:
            task.cancelling()

    task = lib.create_task(body())
    await lib.sleep(0)
    task.cancel("outer")
    return await outcome(task), task.cancelling()


@scenario
async def time_outs(lib: Any) -> Any:
    seen: Log = []
    for delay in (None, 0, -1, 0.001, 1000):
        try:
            async with lib.timeout(delay) as timeout:
                seen.append(timeout.expired())
                await lib.sleep(0 if delay in (None, 1000) else 1000)
                await lib.sleep(0)
        except TimeoutError as error:
            seen.append(chain(error))
        seen.append((timeout.expired(), repr(timeout), asyncio.current_task().cancelling()))
    return seen


@scenario
async def time_outs_are_rescheduled(lib: Any) -> Any:
    loop = asyncio.get_running_loop()
    seen: Log = []
    timeout = lib.timeout(1000)
    for use in (lambda: timeout.reschedule(5), timeout.when):
        try:
            seen.append(use() is not None)
        except RuntimeError as error:
            seen.append(words(error))
    seen.append(repr(timeout))
    async with timeout:
        timeout.reschedule(when=None)
        seen.append((timeout.when(), repr(timeout)))
        timeout.reschedule(12345678.12345)
        seen.append((timeout.when(), repr(timeout)))
    for use in (lambda: timeout.reschedule(5), timeout.__aenter__):
        try:
            seen.append(await use())
        except RuntimeError as error:
            seen.append(words(error))
    for when in (0, loop.time(), loop.time() - 5, True):
        try:
            async with lib.timeout_at(None) as timeout:
                timeout.reschedule(when)
                await lib.sleep(1000)
        except TimeoutError as error:
            seen.append(words(error))
    # It was taken back before it came to its turn.
    async with lib.timeout(0) as timeout:
        timeout.reschedule(None)
        await lib.sleep(0)
        await lib.sleep(0)
    return seen


@scenario
async def other_errors_leave_a_time_out(lib: Any) -> Any:
    seen = []
    for error in (ValueError("own"), ExceptionGroup("group", [KeyError(1)])):
        try:
            async with lib.timeout(0):
                try:
                    await lib.sleep(1000)
                except asyncio.CancelledError:
                    raise error  # noqa: B904  # The context is what is compared.
        except Exception as raised:
            seen.append(chain(raised))
    return seen


@scenario
async def nested_time_outs(lib: Any) -> Any:
    seen: Log = []
    for outer, inner in ((0, 1000), (1000, 0), (0, 0)):
        try:
            async with lib.timeout(outer) as first:
                try:
                    async with lib.timeout(inner) as second:
                        await lib.sleep(1000)
                except TimeoutError as error:
                    seen.append(("inner", words(error)))
                    await lib.sleep(0)
        except TimeoutError as error:
            seen.append(("outer", words(error)))
        seen.append((first.expired(), second.expired()))
    return seen


@scenario
async def groups(lib: Any) -> Any:
    group = lib.TaskGroup()
    seen: Log = [repr(group)]
    async with group as entered:
        seen.append((entered is group, repr(group)))
        tasks = [group.create_task(value(lib, n, n), name=f"named {n}") for n in range(4)]
        seen.append(repr(group))
        tasks.append(tasks[0])
        late = group.create_task(value(lib, "late"), context=contextvars.copy_context())
    seen += [repr(group), [task.result() for task in tasks], late.result(), tasks[1].get_name()]
    for use in (group.__aenter__, lambda: group.create_task(value(lib, 1))):
        try:
            await use()
        except RuntimeError as error:
            seen.append(words(error))
    return seen


@scenario
async def groups_fail(lib: Any) -> Any:
    seen: Log = []

    async def in_group(*awaitables: Any, body: Any = None) -> None:
        async with lib.TaskGroup() as group:
            for awaitable in awaitables:
                group.create_task(awaitable)
            if body is not None:
                await body
            seen.append(repr(group))

    error, cancelled = ValueError("error"), asyncio.CancelledError
    for make in (
        lambda: in_group(fail(lib, error)),
        lambda: in_group(fail(lib, error), lib.sleep(1000)),
        lambda: in_group(fail(lib, error), body=lib.sleep(1000)),
        lambda: in_group(fail(lib, error, 1), fail(lib, KeyError(2), 1), body=lib.sleep(1000)),
        lambda: in_group(lib.sleep(1000), body=fail(lib, error, 2)),
        lambda: in_group(stubborn(lib, 1), fail(lib, error), body=stubborn(lib, 2)),
        lambda: in_group(fail(lib, error), body=fail(lib, KeyError("body"), 3)),
        lambda: in_group(fail(lib, cancelled("own")), value(lib, 1, 2)),
        lambda: in_group(value(lib, 1, 2), body=fail(lib, cancelled("own"))),
        lambda: in_group(fail(lib, ExceptionGroup("nested", [error]), 1)),
        lambda: in_group(in_group(fail(lib, error), lib.sleep(1000)), lib.sleep(1000)),
    ):
        task = lib.create_task(make())
        seen.append((await outcome(task), task.cancelling()))
    return seen


@scenario
async def groups_are_cancelled(lib: Any) -> Any:
    seen: Log = []

    async def in_group(*awaitables: Any, body: Any = None) -> None:
        async with lib.TaskGroup() as group:
            for awaitable in awaitables:
                group.create_task(awaitable)
            if body is not None:
                await body

    for make in (
        lambda: in_group(lib.sleep(1000)),
        lambda: in_group(lib.sleep(1000), body=lib.sleep(1000)),
        lambda: in_group(stubborn(lib, 1)),
        lambda: in_group(fail(lib, ValueError(1), 2), lib.sleep(1000)),
        lambda: in_group(fail(lib, ValueError(1), 1), stubborn(lib, 2)),
    ):
        for turns in range(6):
            task = lib.create_task(make())
            for _ in range(turns):
                await lib.sleep(0)
            task.cancel("first")
            await lib.sleep(0)
            task.cancel("second")
            seen.append((turns, await outcome(task), task.cancelling()))
    return seen


@scenario
async def the_wrong_use_of_a_group(lib: Any) -> Any:
    seen: Log = []
    group = lib.TaskGroup()
    coroutine = value(lib, 1)
    try:
        group.create_task(coroutine)
    except RuntimeError as error:
        seen.append((words(error), coroutine.cr_frame is None))
    coroutine.close()

    async def create_late(group: Any) -> None:
        try:
            await lib.sleep(1000)
        finally:
            coroutine = value(lib, 1)
            try:
                group.create_task(coroutine)
            except RuntimeError as error:
                seen.append((words(error), coroutine.cr_frame is None))
            coroutine.close()

    async def main() -> None:
        async with lib.TaskGroup() as group:
            group.create_task(create_late(group))
            await lib.sleep(0)
            raise ValueError("body")

    seen.append(await outcome(main()))
    return seen


@scenario
async def a_task_creates_more_in_its_group(lib: Any) -> Any:
    order: Log = []

    async def child(group: Any, depth: int) -> None:
        order.append(depth)
        if depth:
            group.create_task(child(group, depth - 1))
            group.create_task(child(group, depth - 1))

    async with lib.TaskGroup() as group:
        group.create_task(child(group, 4))
    return order


@scenario
async def a_subclass_of_group_hears_of_its_tasks(lib: Any) -> Any:
    heard: Log = []

    class Group(lib.TaskGroup):
        def _on_task_done(self, task: Any) -> None:
            heard.append(task.get_name())
            super()._on_task_done(task)

    async with Group() as group:
        for number in range(3):
            group.create_task(value(lib, 1), name=f"task {number}")
        group.attribute = 1
    return heard


@scenario
async def completed_in_order(lib: Any) -> Any:
    seen: Log = []
    for timeout in (None, 1000):
        slow, quick = value(lib, "slow", 9), value(lib, "quick", 2)
        for awaitable in lib.as_completed([slow, quick], timeout=timeout):
            seen.append(await awaitable)
    tasks = [lib.create_task(value(lib, 1, 5)), lib.create_task(fail(lib, ValueError(1), 1))]
    for awaitable in lib.as_completed([*tasks, *tasks]):
        seen.append(await outcome(awaitable))
    for awaitable in lib.as_completed([lib.sleep(1000)], timeout=0.001):
        seen.append(await outcome(awaitable))
    for bad in (tasks[0], value(lib, 1)):
        try:
            list(lib.as_completed(bad))
        except TypeError as error:
            seen.append(type(error))
        getattr(bad, "close", int)()
    return seen


@scenario
async def a_task_factory_is_asked(lib: Any) -> Any:
    loop = asyncio.get_running_loop()
    made: Log = []

    def factory(loop: Any, coro: Any, **keywords: Any) -> Any:
        made.append(sorted(keywords))
        return asyncio.Task(coro, loop=loop, **keywords)

    loop.set_task_factory(factory)
    seen: Log = [await lib.create_task(value(lib, 1), name="named")]
    seen.append(await lib.gather(value(lib, 2), value(lib, 3, 2)))
    async with lib.TaskGroup() as group:
        task = group.create_task(value(lib, 4), name="of the group")
    seen += [task.result(), task.get_name(), await lib.shield(value(lib, 5))]
    loop.set_task_factory(None)
    return seen, made


# A task that is cancelled before its first step leaves what its coroutine would have awaited.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")


# The first releases of 3.11 lack repairs of these.
if BEFORE_REPAIRS:
    for repaired in (time_outs, time_outs_are_rescheduled, groups):
        SCENARIOS.remove(repaired)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario: Any) -> None:
    everywhere(scenario)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario_in_debug_mode(scenario: Any, caplog: pytest.LogCaptureFixture) -> None:
    if scenario is sleeps_end_by_deadline:
        pytest.skip("debug mode is too slow to begin them all in time")
    # A busy machine's slow callbacks are none of the scenario's.
    caplog.set_level("ERROR", "asyncio")
    everywhere(scenario, debug=True)


def test_a_timeout_may_be_derived_from() -> None:
    """As async_timeout does."""

    class Timeout(ferrio.Timeout):  # type: ignore[misc]
        @property
        def expired(self) -> bool:  # type: ignore[override]
            return super().expired()

    async def use(timeout: Timeout) -> None:
        async with timeout:
            await asyncio.sleep(1000)

    async def main() -> None:
        timeout = Timeout(asyncio.get_running_loop().time())
        timeout.mine = timeout
        with pytest.raises(TimeoutError):
            await use(timeout)
        assert timeout.expired is True
        watch = weakref.ref(timeout)
        del timeout
        await asyncio.sleep(0)  # The turn that ended the sleep has held it.
        gc.collect()
        assert watch() is None

    ferrio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks before")
def test_scenarios_with_eager_tasks() -> None:
    def eager(scenario: Any) -> Any:
        async def run(lib: Any) -> Any:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(lib.eager_task_factory)
            return await scenario(lib)

        return run

    for scenario in SCENARIOS:
        if scenario not in (a_task_factory_is_asked, sleeps_end_by_deadline):
            everywhere(eager(scenario))
