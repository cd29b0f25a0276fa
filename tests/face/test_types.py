"""The first rule of the design: what ferrio makes is of asyncio's types, with nothing patched."""

import asyncio
import functools
import inspect
import sys
from collections.abc import Iterator

import ferrio
import pytest


@pytest.fixture
def loop() -> Iterator[ferrio.Loop]:
    loop = ferrio.new_event_loop()
    yield loop
    loop.close()


async def noop() -> None:
    pass


def test_a_loop_is_an_abstract_event_loop(loop: ferrio.Loop) -> None:
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert type(loop) is ferrio.Loop


def test_a_task_is_a_task_and_a_future(loop: ferrio.Loop) -> None:
    task = loop.create_task(noop())
    assert type(task) is ferrio.Task
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, asyncio.Future)
    assert isinstance(task, ferrio.Future)
    assert asyncio.isfuture(task)
    loop.run_until_complete(task)


def test_a_future_is_a_future(loop: ferrio.Loop) -> None:
    future = loop.create_future()
    assert type(future) is ferrio.Future
    assert isinstance(future, asyncio.Future)
    assert not isinstance(future, asyncio.Task)
    assert asyncio.isfuture(future)


def test_a_handle_is_a_handle(loop: ferrio.Loop) -> None:
    handle = loop.call_soon(print)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    assert isinstance(loop.call_soon_threadsafe(print), asyncio.Handle)


def test_a_timer_handle_is_a_timer_handle(loop: ferrio.Loop) -> None:
    for timer in (loop.call_later(1, print), loop.call_at(1, print)):
        assert isinstance(timer, asyncio.TimerHandle)
        assert isinstance(timer, asyncio.Handle)


def test_a_server_and_its_transports_are_of_asyncio_s_types(loop: ferrio.Loop) -> None:
    accepted: list[asyncio.BaseTransport] = []

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)
            transport.close()

    async def main() -> None:
        server = await loop.create_server(Accepting, "127.0.0.1", 0)
        assert isinstance(server, asyncio.Server)
        assert isinstance(server, asyncio.AbstractServer)
        lost = loop.create_future()

        class Connecting(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.set_result(exc)

        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(Connecting, *address)
        await lost
        server.close()
        for end in (transport, *accepted):
            assert isinstance(end, asyncio.Transport)
            assert isinstance(end, asyncio.ReadTransport)
            assert isinstance(end, asyncio.WriteTransport)
        assert len(accepted) == 1

    loop.run_until_complete(main())


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_a_loop_has_every_public_name_of_asyncio_s() -> None:
    assert public(asyncio.SelectorEventLoop) <= public(ferrio.Loop)


def test_what_are_coroutine_functions_of_asyncio_s_loop_are_of_ferrio_s() -> None:
    def coroutine_functions(kind: type) -> set[str]:
        return {n for n in public(kind) if asyncio.iscoroutinefunction(getattr(kind, n))}

    assert coroutine_functions(ferrio.Loop) == coroutine_functions(asyncio.SelectorEventLoop)


def test_native_coroutine_functions() -> None:
    function = ferrio.Loop.sock_recv
    # docs/differences.md: before 3.12 only a Python function can be one.
    assert inspect.iscoroutinefunction(function) == (sys.version_info >= (3, 12))
    assert function.__name__ == "sock_recv"
    assert function.__qualname__ == "Loop.sock_recv"
    assert (function.__doc__ or "").startswith("Receive at most")
    assert repr(function) == "<coroutine function Loop.sock_recv>"
    assert [*inspect.signature(function).parameters] == ["self", "sock", "n"]
    loop = ferrio.new_event_loop()
    assert [*inspect.signature(loop.sock_recv).parameters] == ["sock", "n"]
    assert asyncio.iscoroutinefunction(loop.sock_recv)
    partial = functools.partial(loop.sock_recv, None)
    assert asyncio.iscoroutinefunction(partial) == (sys.version_info >= (3, 12))
    loop.close()


def test_a_loop_can_be_subclassed() -> None:
    class Mine(ferrio.Loop):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    loop = Mine("mine")
    assert loop.name == "mine"
    assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    loop.close()
