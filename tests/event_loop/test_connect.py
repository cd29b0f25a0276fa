"""`sock_connect` and `create_connection` to literal addresses, which take a shorter way."""

import asyncio
import contextlib
import gc
import inspect
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ports import dual_stack

from .differential import words

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket for IPv4 and IPv6."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        yield listener


@pytest.fixture
def refused() -> Iterator[int]:
    """The number of a port that is taken, and nobody listens on."""
    with dual_stack() as taken:
        yield taken.getsockname()[1]


ADDRESSES: dict[str, Callable[[int], Any]] = {
    "IPv4": lambda port: ("127.0.0.1", port),
    "IPv6": lambda port: ("::1", port),
    "IPv6 complete": lambda port: ("::1", port, 0, 0),
    "IPv6 flow": lambda port: ("::1", port, 7, 0),
    "IPv6 scope": lambda port: ("::1", port, 0, 1),
    "mapped": lambda port: ("::ffff:127.0.0.1", port, 0, 0),
    "list": lambda port: ["127.0.0.1", port],
    "text": lambda port: ("127.0.0.1", str(port)),
    "bytes": lambda port: (b"127.0.0.1", port),
    "true": lambda port: ("127.0.0.1", True),
    "short": lambda port: ("127.1", port),
    "three": lambda port: ("127.0.0.1", port, 0),
    "one": lambda port: ("127.0.0.1",),
    "large port": lambda port: ("127.0.0.1", port + 65536),
    "negative port": lambda port: ("127.0.0.1", -1),
    "huge port": lambda port: ("127.0.0.1", 1 << 70),
    "large flow": lambda port: ("::1", port, 1 << 20, 0),
    "negative scope": lambda port: ("::1", port, 0, -1),
    "broadcast": lambda port: ("255.255.255.255", port),
    "no route": lambda port: ("fe80::1", port, 0, 0),
    "none": lambda port: None,
}


@pytest.mark.parametrize("open", [True, False], ids=["accepted", "refused"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("proto", [0, socket.IPPROTO_TCP])
@pytest.mark.parametrize("address", ADDRESSES)
def test_the_outcome_is_that_of_asyncio(
    make_loop: Callable[[], Loop],
    listener: socket.socket,
    refused: int,
    address: str,
    family: int,
    proto: int,
    open: bool,
) -> None:
    def outcome(loop: Loop) -> list[str]:
        target = ADDRESSES[address](listener.getsockname()[1] if open else refused)
        with socket.socket(family, socket.SOCK_STREAM, proto) as sock:
            sock.setblocking(False)
            try:
                loop.run_until_complete(loop.sock_connect(sock, target))
                return ["connected", words(sock.getpeername())]
            except Exception as error:
                return [words(error)]

    heard = []
    for new_loop in (asyncio.SelectorEventLoop, make_loop):
        with contextlib.closing(new_loop()) as loop:
            heard.append(outcome(loop))
    assert heard[0] == heard[1]


HOSTS: dict[str, Callable[[int], tuple[Any, Any]]] = {
    "IPv4": lambda port: ("127.0.0.1", port),
    "IPv6": lambda port: ("::1", port),
    "mapped": lambda port: ("::ffff:127.0.0.1", port),
    "scope": lambda port: ("fe80::1%lo", port),
    "name": lambda port: ("localhost", port),
    "bytes": lambda port: (b"127.0.0.1", port),
    "text": lambda port: ("127.0.0.1", str(port)),
    "true": lambda port: ("127.0.0.1", True),
    "no port": lambda port: ("127.0.0.1", None),
    "no host": lambda port: (None, None),
    "short": lambda port: ("127.1", port),
    "zeros": lambda port: ("127.000.000.001", port),
    "large port": lambda port: ("127.0.0.1", port + 65536),
    "negative port": lambda port: ("127.0.0.1", -1),
    "broadcast": lambda port: ("255.255.255.255", port),
    "no route": lambda port: ("fe80::1", port),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "the defaults": {"ssl": None, "family": 0, "local_addr": None, "server_hostname": None},
    "a family": {"family": socket.AF_INET},
    "a local address": {"local_addr": ("127.0.0.1", 0)},
    "happy eyeballs": {"happy_eyeballs_delay": 0.25},
    "no server's name": {"server_hostname": ""},
    "no time": {"ssl_handshake_timeout": 0},
    "unknown": {"unknown": None},
    "all errors": {"all_errors": True},
}


@pytest.mark.parametrize("open", [True, False], ids=["accepted", "refused"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("host", HOSTS)
def test_the_connection_is_that_of_asyncio(
    make_loop: Callable[[], Loop],
    listener: socket.socket,
    refused: int,
    host: str,
    options: str,
    open: bool,
) -> None:
    async def connect(loop: Loop) -> list[str]:
        target = HOSTS[host](listener.getsockname()[1] if open else refused)
        try:
            transport, protocol = await loop.create_connection(
                asyncio.Protocol, *target, **OPTIONS[options]
            )
        except Exception as error:
            return [words(error)]
        sock = transport.get_extra_info("socket")
        told = [words(transport.get_extra_info(name)) for name in ("peername", "sockname")]
        told += [
            type(protocol).__name__,
            repr(sock.type),
            repr(sock.proto),
            repr(sock.gettimeout()),
        ]
        transport.abort()
        return told

    heard = []
    for new_loop in (asyncio.SelectorEventLoop, make_loop):
        with contextlib.closing(new_loop()) as loop:
            heard.append(loop.run_until_complete(connect(loop)))
    assert heard[0] == heard[1]


def test_create_connection_has_the_signature_of_asyncio(loop: Loop) -> None:
    theirs = asyncio.BaseEventLoop.create_connection
    assert inspect.signature(type(loop).create_connection) == inspect.signature(theirs)
    assert inspect.iscoroutinefunction(loop.create_connection)


@contextlib.contextmanager
def nothing_left_open() -> Iterator[None]:
    """All sockets that are opened are closed, and none of them by its death."""
    before = set(os.listdir("/proc/self/fd"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def full() -> Iterator[socket.socket]:
    """A listening socket whose queue of connections is full: the next one takes time."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener


@pytest.mark.parametrize("way", ["cancel", "time out"])
def test_a_connection_given_up_leaves_nothing_open(
    loop: Loop, full: socket.socket, way: str
) -> None:
    async def main() -> None:
        connecting = loop.create_connection(asyncio.Protocol, *full.getsockname())
        if way == "time out":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connecting, 0.01)
            return
        task = loop.create_task(connecting)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with nothing_left_open():
        loop.run_until_complete(main())


def test_a_connect_that_was_given_up_is_waited_for_again(loop: Loop, full: socket.socket) -> None:
    async def main() -> None:
        with socket.socket() as client:
            client.setblocking(False)
            for _ in range(2):
                connecting = loop.sock_connect(client, full.getsockname())
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(connecting, 0.01)

    loop.run_until_complete(main())


def test_who_connects_takes_the_place_of_a_writer(loop: Loop, full: socket.socket) -> None:
    """As `add_writer` does: what it replaces is cancelled, even if its turn has come."""
    ran: list[str] = []
    theirs, ours = socket.socketpair()
    client = socket.socket()
    client.setblocking(False)

    async def connect() -> None:
        await loop.sock_connect(client, full.getsockname())

    connecting = connect()

    def first() -> None:
        loop.remove_reader(ours)
        connecting.send(None)
        ran.append("connecting")
        loop.call_later(0.01, loop.stop)

    with theirs, ours, client:
        theirs.send(b"x")
        loop.add_reader(ours, first)
        loop.add_writer(client, ran.append, "writer")
        loop.run_forever()
        assert ran == ["connecting"]
        connecting.close()


def test_what_an_audit_hook_forbids_leaves_nothing_open(
    loop: Loop, listener: socket.socket
) -> None:
    forbids = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if forbids and event == "socket.connect":
            raise PermissionError(f"not to {args[1][0]}")

    sys.addaudithook(hook)  # There is no taking it away.
    port = listener.getsockname()[1]
    try:
        with nothing_left_open(), pytest.raises(PermissionError, match=r"not to 127\.0\.0\.1"):
            loop.run_until_complete(loop.create_connection(asyncio.Protocol, "127.0.0.1", port))
    finally:
        forbids = False


def test_another_class_of_sockets_is_used(
    loop: Loop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ByProxy(socket.socket):
        def connect(self, address: Any) -> None:
            super().connect(listener.getsockname())

    async def main() -> Any:
        transport, _ = await loop.create_connection(asyncio.Protocol, "::2", 1)
        sock = transport.get_extra_info("socket")
        transport.abort()
        return type(sock._sock) if hasattr(sock, "_sock") else type(sock)

    monkeypatch.setattr(socket, "socket", ByProxy)
    assert loop.run_until_complete(main()) is ByProxy


def test_an_overridden_sock_connect_is_called(
    make_loop: Callable[[], Loop], listener: socket.socket
) -> None:
    with contextlib.closing(make_loop()) as loop:
        theirs: Any = type(loop)
    asked: list[Any] = []

    class Overrides(theirs):  # type: ignore[misc]
        async def sock_connect(self, sock: socket.socket, address: Any) -> None:
            asked.append(address)
            await super().sock_connect(sock, address)

    address = ("127.0.0.1", listener.getsockname()[1])
    with contextlib.closing(Overrides()) as other:
        transport, _ = other.run_until_complete(other.create_connection(asyncio.Protocol, *address))
        transport.abort()
    assert asked == [address]


def test_sockets_of_datagrams_connect_too(loop: Loop, listener: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        address = ("127.0.0.1", listener.getsockname()[1])
        loop.run_until_complete(loop.sock_connect(sock, address))
        assert sock.getpeername() == address


def test_who_tries_again_and_again_lets_others_run(loop: Loop, refused: int) -> None:
    ran: list[int] = []

    async def main() -> None:
        loop.call_soon(ran.append, 1)
        while not ran:
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(asyncio.Protocol, "127.0.0.1", refused)

    loop.run_until_complete(main())
    assert ran == [1]


def test_nagle_is_off(loop: Loop, listener: socket.socket) -> None:
    async def main() -> None:
        transport, _ = await loop.create_connection(
            asyncio.Protocol, "127.0.0.1", listener.getsockname()[1]
        )
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.abort()

    loop.run_until_complete(main())


def test_a_replaced_connect_is_called(
    loop: Loop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(sock: socket.socket, address: Any) -> None:
        raise PermissionError(f"not to {address[0]}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    port = listener.getsockname()[1]
    with pytest.raises(PermissionError, match=r"not to 127\.0\.0\.1"):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "127.0.0.1", port))


def test_audit_hooks_are_told(loop: Loop, listener: socket.socket) -> None:
    told: list[Any] = []
    listening = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if listening and event == "socket.connect":
            told.append(args)

    sys.addaudithook(hook)  # There is no taking it away.
    address = ("127.0.0.1", listener.getsockname()[1])
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.setblocking(False)
        try:
            loop.run_until_complete(loop.sock_connect(sock, address))
        finally:
            listening = False
        assert told == [(sock, address)]
