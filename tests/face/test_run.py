"""`ferrio.run` and `ferrio.Runner` are asyncio's, on ferrio's loop."""

import asyncio
import contextvars
import gc
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import ferrio
import pytest


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    # A coroutine that was refused is warned of in the test that made it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
        gc.collect()


async def where() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[type, str]:
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # compared with another's
        function(*args, **kwargs)
    return caught.type, str(caught.value)


def test_run_runs_on_ferrio_and_closes_the_loop() -> None:
    loop = ferrio.run(where())
    assert type(loop) is ferrio.Loop
    assert loop.is_closed()


def test_run_returns_and_raises_what_the_coroutine_does() -> None:
    async def double(number: int) -> int:
        return number * 2

    async def fail() -> None:
        raise LookupError("no")

    assert ferrio.run(double(21)) == 42
    assert outcome(ferrio.run, fail()) == (LookupError, "no")


@pytest.mark.parametrize("main", [5, None, print, where], ids=repr)
def test_run_refuses_what_asyncio_run_refuses(main: Any) -> None:
    assert outcome(ferrio.run, main) == outcome(asyncio.run, main)


def test_run_refuses_a_running_loop_as_asyncio_run_does() -> None:
    async def nested(run: Callable[..., Any]) -> tuple[type, str]:
        coro = where()
        try:
            return outcome(run, coro)
        finally:
            coro.close()

    assert ferrio.run(nested(ferrio.run)) == asyncio.run(nested(asyncio.run))


@pytest.mark.parametrize("debug", [True, False, None])
def test_run_sets_debug_mode(debug: bool | None) -> None:
    async def debugging() -> bool:
        return asyncio.get_running_loop().get_debug()

    expected = asyncio.run(debugging(), debug=debug)
    assert ferrio.run(debugging(), debug=debug) is expected


def test_run_takes_a_loop_factory_of_ferrio() -> None:
    class Mine(ferrio.Loop):
        pass

    assert type(ferrio.run(where(), loop_factory=Mine)) is Mine


def test_run_refuses_another_loop_and_closes_it() -> None:
    made = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append(asyncio.SelectorEventLoop())
        return made[0]

    assert outcome(ferrio.run, where(), loop_factory=factory) == (
        TypeError,
        "ferrio.run() uses a non-ferrio event loop",
    )
    assert made[0].is_closed()


def test_run_refuses_unknown_keywords() -> None:
    assert outcome(ferrio.run, where(), nonsense=1)[0] is TypeError


def test_run_cancels_what_is_left_and_ends_the_generators() -> None:
    heard = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            heard.append("task")

    async def generator() -> Any:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            heard.append("generator")

    async def main() -> None:
        global kept
        kept = generator()
        await anext(kept)
        main.task = asyncio.create_task(background())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    ferrio.run(main())
    assert heard == ["task", "generator"]


kept: Any = None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_run_cancels_while_the_exception_is_handled(error: type[BaseException]) -> None:
    """Which becomes the context of the cancellation, so that a task's own failure is logged with it."""

    def context(run: Any, sleep: Any) -> Any:
        seen: list[Any] = []

        async def waits() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError as cancellation:
                seen.append(repr(cancellation.__context__))

        async def main() -> None:
            task = asyncio.get_running_loop().create_task(waits())
            await sleep(0)
            seen.append(task.done())
            raise error("boom")

        with pytest.raises(error):
            run(main())
        return seen

    expected = [False, repr(error("boom"))]
    assert context(asyncio.run, asyncio.sleep) == expected
    assert context(ferrio.run, ferrio.sleep) == expected


def test_run_waits_for_the_default_executor() -> None:
    import threading

    go = threading.Event()
    done = []

    def work() -> None:
        go.wait()
        done.append(1)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, work)
        go.set()

    ferrio.run(main())
    assert done == [1]


def test_run_leaves_no_event_loop_set() -> None:
    async def main() -> None:
        pass

    ferrio.run(main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_runner_is_asyncio_s() -> None:
    with ferrio.Runner() as runner:
        assert isinstance(runner, asyncio.Runner)
        assert type(runner.get_loop()) is ferrio.Loop
        assert runner.run(where()) is runner.run(where()) is runner.get_loop()
    assert outcome(runner.get_loop) == (RuntimeError, "Runner is closed")


def test_a_runner_keeps_its_context() -> None:
    variable = contextvars.ContextVar("variable", default=0)

    async def add() -> int:
        variable.set(variable.get() + 1)
        return variable.get()

    with ferrio.Runner() as runner:
        assert [runner.run(add()) for _ in range(3)] == [1, 2, 3]
        assert runner.run(add(), context=contextvars.Context()) == 1
    assert variable.get() == 0


def test_a_runner_takes_debug_and_a_factory() -> None:
    with ferrio.Runner(debug=True, loop_factory=asyncio.SelectorEventLoop) as runner:
        assert type(runner.get_loop()) is asyncio.SelectorEventLoop
        assert runner.get_loop().get_debug()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="from 3.14 on any awaitable can be run")
def test_a_runner_runs_any_awaitable() -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return "done"

    assert ferrio.run(Awaitable()) == asyncio.run(Awaitable()) == "done"  # type: ignore[arg-type]


def test_the_signatures_have_asyncio_s_parameters() -> None:
    theirs = {**inspect.signature(asyncio.Runner).parameters}
    assert set(inspect.signature(ferrio.Runner).parameters) == set(theirs)
    assert {"main", "debug", "loop_factory"} <= set(inspect.signature(ferrio.run).parameters)
