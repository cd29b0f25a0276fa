"""`run_in_executor`, the default executor, name resolution, and asynchronous generators."""

import asyncio
import concurrent.futures
import gc
import socket
import threading
import warnings
from collections.abc import AsyncGenerator
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop


def test_a_function_runs_in_another_thread(loop: Loop) -> None:
    async def main() -> tuple[int, Any]:
        where = await loop.run_in_executor(None, threading.get_ident)
        return where, await loop.run_in_executor(None, divmod, 7, 3)

    where, result = loop.run_until_complete(main())
    assert where != threading.get_ident()
    assert result == (2, 1)


def test_the_loop_runs_meanwhile(loop: Loop) -> None:
    go = threading.Event()

    async def main() -> bool:
        waiting = loop.run_in_executor(None, go.wait, 60)
        await asyncio.sleep(0)
        go.set()
        return await waiting

    assert loop.run_until_complete(main()) is True


def test_an_executor_of_one_s_own(loop: Loop) -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:

        async def main() -> str:
            thread = await loop.run_in_executor(executor, threading.current_thread)
            return thread.name

        assert loop.run_until_complete(main()).startswith("mine")


def test_the_default_executor_can_be_set(loop: Loop) -> None:
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(executor)

    async def main() -> str:
        return (await asyncio.to_thread(threading.current_thread)).name

    assert loop.run_until_complete(main()).startswith("mine")
    loop.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(print)


def test_the_shutdown_waits_for_what_runs(loop: Loop) -> None:
    go = threading.Event()
    done: list[int] = []

    def work() -> None:
        go.wait(60)
        done.append(1)

    async def main() -> None:
        waiting = loop.run_in_executor(None, work)
        loop.call_soon(go.set)
        await loop.shutdown_default_executor()
        assert done == [1]
        await waiting

    loop.run_until_complete(main())


def test_a_cancelled_call_does_not_run(loop: Loop) -> None:
    go = threading.Event()
    ran: list[int] = []
    executor = concurrent.futures.ThreadPoolExecutor(1)
    loop.set_default_executor(executor)

    async def main() -> None:
        first = loop.run_in_executor(None, go.wait, 60)
        second = loop.run_in_executor(None, ran.append, 1)
        second.cancel()
        # The executor is told in the next turn.
        await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        await first

    loop.run_until_complete(main())
    executor.shutdown()
    assert ran == []


def test_getaddrinfo_and_getnameinfo_answer_as_the_socket_module(loop: Loop) -> None:
    async def main() -> None:
        assert await loop.getaddrinfo(
            "127.0.0.1", 80, type=socket.SOCK_STREAM
        ) == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert await loop.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")

    loop.run_until_complete(main())


def test_shutdown_asyncgens_ends_generators_that_wait(loop: Loop) -> None:
    ended: list[str] = []

    async def generator(name: str) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    kept = [generator("a"), generator("b")]

    async def main() -> None:
        for each in kept:
            await anext(each)

    loop.run_until_complete(main())
    assert ended == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(ended) == ["a", "b"]


def test_a_generator_that_raises_at_its_end_is_reported(loop: Loop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def generator() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise LookupError("at the end")

    kept = generator()

    async def main() -> None:
        await anext(kept)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert [str(report["exception"]) for report in reports] == ["at the end"]
    assert reports[0]["asyncgen"] is kept


def test_a_generator_that_nobody_keeps_is_closed_by_the_loop(loop: Loop) -> None:
    ended: list[bool] = []

    async def generator() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(asyncio.get_running_loop() is loop)

    async def main() -> None:
        async for _ in generator():
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert ended == [True]


def test_a_generator_after_the_shutdown_is_warned_of(loop: Loop) -> None:
    async def generator() -> AsyncGenerator[int, None]:
        yield 1

    async def main() -> None:
        await loop.shutdown_asyncgens()
        late = generator()
        await anext(late)
        await late.aclose()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.run_until_complete(main())
    assert "was scheduled after loop.shutdown_asyncgens() call" in str(caught[0].message)


def test_the_hooks_of_others_are_given_back(loop: Loop) -> None:
    import sys

    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=print, finalizer=print)
    try:
        loop.run_until_complete(asyncio.sleep(0))
        assert sys.get_asyncgen_hooks() == (print, print)
    finally:
        sys.set_asyncgen_hooks(*before)
