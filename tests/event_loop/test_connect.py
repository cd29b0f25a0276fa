"""`sock_connect` and `create_connection` to literal addresses, which take a shorter way."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .differential import words

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket for IPv4 and IPv6."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        yield listener


@pytest.fixture
def refused() -> int:
    """The number of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port: int = closed.getsockname()[1]
    return port


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
