"""Coroutines written in Rust behave as Python's own: `ferrio.wait_for` beside asyncio's, driven by hand."""

import asyncio
import collections.abc
import gc
import inspect
import itertools
import sys
import traceback
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import ferrio
import pytest

from .side_by_side import words

# What awaits anything is `wait_for`, which is native from 3.12 on.
delegates = pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_for is asyncio's")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = ferrio.new_event_loop()
    yield loop
    loop.close()


@types.coroutine
def generator_based() -> Any:
    """Yields twice; what is thrown in first is swallowed."""
    try:
        yield "first"
    except ValueError as error:
        yield f"caught {error}"
    yield "second"
    return "returned"


@types.coroutine
def raises() -> Any:
    yield "first"
    raise KeyError("raised")


@types.coroutine
def ignores_close() -> Any:
    try:
        yield "first"
    except GeneratorExit:
        yield "second"


class Plain:
    """An iterator without send, throw and close."""

    def __init__(self) -> None:
        self.left = [1, 2]

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self.left:
            return self.left.pop()
        raise StopIteration("ended")


class Bad:
    def __init__(self, awaiter: Any) -> None:
        self.awaiter = awaiter

    def __await__(self) -> Any:
        return self.awaiter


async def stops() -> None:
    raise StopIteration("within")


async def python() -> str:
    await generator_based()
    return "python"


AWAITABLES: dict[str, Callable[[], Any]] = {
    "generator-based": generator_based,
    "raises": raises,
    "python": python,
    "iterator": Plain,
    "awaits no iterator": lambda: Bad(5),
    "awaits a coroutine": lambda: Bad(python()),
    "none": lambda: None,
    "stop iteration": stops,
    "plain generator": lambda: (x for x in ()),
}
STEPS: dict[str, Callable[[Any], Any]] = {
    "send": lambda coro: coro.send(None),
    "throw": lambda coro: coro.throw(ValueError("thrown")),
    "throw class": lambda coro: coro.throw(ValueError),
    "throw stop": lambda coro: coro.throw(StopIteration("thrown")),
    "throw exit": lambda coro: coro.throw(GeneratorExit("thrown")),
    "close": lambda coro: coro.close(),
}


def drive(coro: Any, steps: tuple[str, ...]) -> list[Any]:
    """What each step gives, and the state after it."""
    seen: list[Any] = []
    for step in steps:
        try:
            seen.append(STEPS[step](coro))
        except BaseException as error:
            # Messages of what Python's own `await` refuses differ: there it is a wrong use of a statement.
            seen.append(words(error))
            seen.append(words(error.__cause__))
        seen.append((inspect.getcoroutinestate(coro), coro.cr_running, coro.cr_frame is None))
        seen.append(coro.cr_await is None)
    coro.close()
    return seen


@delegates
@pytest.mark.parametrize("name", AWAITABLES)
def test_every_sequence_of_three_steps(loop: asyncio.AbstractEventLoop, name: str) -> None:
    async def run(wait_for: Any, steps: tuple[str, ...]) -> Any:
        return drive(wait_for(AWAITABLES[name](), None), steps)

    with warnings.catch_warnings():
        # Some of the sequences await nothing.
        warnings.simplefilter("ignore")
        for steps in itertools.product(STEPS, repeat=3):
            ours = loop.run_until_complete(run(ferrio.wait_for, steps))
            theirs = loop.run_until_complete(run(asyncio.wait_for, steps))
            assert ours == theirs, steps


@delegates
def test_one_that_ignores_its_end(loop: asyncio.AbstractEventLoop) -> None:
    async def run(wait_for: Any) -> Any:
        coro = wait_for(ignores_close(), None)
        coro.send(None)
        with pytest.raises(RuntimeError) as raised:
            coro.close()
        return str(raised.value)

    ours = loop.run_until_complete(run(ferrio.wait_for))
    assert ours == loop.run_until_complete(run(asyncio.wait_for))


@delegates
def test_one_that_runs_cannot_be_entered(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []

    async def inner() -> None:
        for step in ("send", "throw", "close"):
            with pytest.raises(ValueError, match="coroutine already executing"):
                STEPS[step](coros[0])
        with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
            coros[0].__await__()
        seen.append(coros[0].cr_running)

    coros: list[Any] = [ferrio.wait_for(inner(), None)]

    async def main() -> None:
        await coros[0]

    loop.run_until_complete(main())
    assert seen == [True]
    coros.clear()


def test_values_that_are_sent() -> None:
    coro = ferrio.sleep(0)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coro.send(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"exceptions must be classes or instances .* not int"):
        coro.throw(5)  # type: ignore[call-overload]
    assert coro.__await__() is coro
    coro.close()


def test_the_end_without_a_result_has_no_arguments() -> None:
    for library in asyncio, ferrio:
        waits = library.sleep(0)
        assert waits.send(None) is None
        with pytest.raises(StopIteration) as caught:
            waits.send(None)
        assert caught.value.args == ()


def test_one_that_has_ended_cannot_be_awaited_again(loop: asyncio.AbstractEventLoop) -> None:
    coro = ferrio.sleep(0)
    loop.run_until_complete(coro)
    for step in ("send", "throw"):
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            STEPS[step](coro)
    coro.close()


def test_what_it_is_to_the_eye() -> None:
    coro = ferrio.sleep(1)
    assert asyncio.iscoroutine(coro)
    assert isinstance(coro, collections.abc.Coroutine)
    assert isinstance(coro, collections.abc.Awaitable)
    assert inspect.isawaitable(coro)
    assert (coro.__name__, coro.__qualname__) == ("sleep", "sleep")
    assert repr(coro).startswith("<coroutine object sleep at 0x")
    assert coro.cr_code.co_name == "sleep"
    assert coro.cr_frame.f_code is coro.cr_code
    assert (coro.cr_running, coro.cr_await, coro.cr_origin) == (False, None, None)
    coro.close()
    assert coro.cr_frame is None
    exit = ferrio.TaskGroup().__aexit__(None, None, None)
    assert exit.__qualname__ == "TaskGroup.__aexit__"
    exit.close()


def test_functions_that_return_coroutines_say_so() -> None:
    for function in (ferrio.sleep, ferrio.wait, ferrio.wait_for, ferrio.TaskGroup.__aexit__):
        assert asyncio.iscoroutinefunction(function)
    for function in (
        ferrio.gather,
        ferrio.shield,
        ferrio.create_task,
        ferrio.TaskGroup.create_task,
    ):
        assert not asyncio.iscoroutinefunction(function)


@pytest.mark.parametrize("delay", [0, 1])
def test_one_never_awaited_warns_with_its_name(delay: int) -> None:
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        ferrio.sleep(delay)


def test_one_that_was_begun_and_dropped_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coro = ferrio.sleep(0)
        assert coro.send(None) is None
        del coro
        gc.collect()


def test_one_that_was_closed_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        coro = ferrio.sleep(1)
        coro.close()
        del coro
        gc.collect()


def test_debug_mode_tells_where_it_was_made(loop: asyncio.AbstractEventLoop) -> None:
    async def make() -> Any:
        return ferrio.sleep(1)

    loop.set_debug(True)
    coro = loop.run_until_complete(make())
    (filename, _, function), *_ = coro.cr_origin
    assert (filename, function) == (__file__, "make")
    with pytest.warns(RuntimeWarning, match=r"(?s)'sleep' was never awaited.*in make"):
        del coro
    loop.set_debug(False)
    coro = loop.run_until_complete(make())
    assert coro.cr_origin is None
    coro.close()


def test_tracebacks_name_the_call(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        await ferrio.sleep("never")  # type: ignore[arg-type]

    with pytest.raises(TypeError) as raised:
        loop.run_until_complete(main())
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert [frame.name for frame in frames][-2:] == ["main", "sleep"]
    assert frames[-1].filename.startswith("ferrio/")


def test_the_stack_of_a_task_names_the_call(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> Any:
        task = ferrio.create_task(ferrio.sleep(1000))
        await ferrio.sleep(0)
        stack = [frame.f_code.co_name for frame in task.get_stack()]
        shown = repr(task)
        task.cancel()
        return stack, shown

    stack, shown = loop.run_until_complete(main())
    assert stack == ["sleep"]
    assert "coro=<sleep() " in shown


@delegates
def test_one_dropped_while_it_waits_ends_what_it_awaits(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    async def inner() -> None:
        try:
            await loop.create_future()
        finally:
            seen.append("ended")

    async def main() -> None:
        coro = ferrio.wait_for(inner(), 1000)
        coro.send(None)
        del coro

    loop.run_until_complete(main())
    assert seen == ["ended"]


def test_a_cycle_through_one_is_collected(loop: asyncio.AbstractEventLoop) -> None:
    class Mark:
        pass

    def collected(make: Callable[[Any], Any]) -> bool:
        mark = Mark()
        reference = weakref.ref(mark)
        make(mark)
        del mark
        gc.collect()
        return reference() is None

    def unawaited(mark: Any) -> None:
        coro = ferrio.sleep(0, result=mark)
        mark.cycle = coro

    async def waiting(mark: Any) -> None:
        future = loop.create_future()
        mark.cycle = coro = ferrio.wait([future])
        coro.send(None)
        future.cycle = mark, coro

    with warnings.catch_warnings():
        # Who records the warning has the coroutine, too.
        warnings.filterwarnings("ignore", "coroutine 'sleep' was never awaited", RuntimeWarning)
        assert collected(unawaited)
    assert collected(lambda mark: loop.run_until_complete(waiting(mark)))
