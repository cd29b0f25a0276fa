"""Datagrams: what arrives, what is raised and logged, and what becomes of what doesn't fit."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ferrio
import pytest

from .datagrams import (
    HEADER,
    INET,
    INET6,
    MISCOUNTS,
    drain,
    endpoint,
    fill,
    pair,
    plain,
)
from .world import LOOPS, Event, World, compare, names, play

pytestmark = pytest.mark.usefixtures("no_garbage_of_others")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 64, 1400, 60_000])
@pytest.mark.parametrize("local", [INET, INET6])
def test_question_and_answer(local: Any, size: int, kind: Callable[[bytes], Any]) -> None:
    async def scenario(world: World) -> None:
        answer = {
            "datagram_received": lambda self, data, addr: self.transport.sendto(
                kind(data[::-1]), addr
            )
        }
        server, protocol = await endpoint(world, answer, local_addr=local)
        client = plain(world, local)
        protocol.who[client.getsockname()] = "client"
        data = os.urandom(size // 2).ljust(size, b"x")
        client.sendto(data, server.get_extra_info("sockname"))
        await world.until_saw("datagram_received")
        if size:
            world.record("answer", client.recv(65536) == data[::-1])

    events = compare_sizes(scenario)
    assert names(events)[:2] == ["connection_made", "datagram_received"]
    assert not size or ("answer", True) in events


def compare_sizes(scenario: Any) -> list[Event]:
    """Like `compare`, with random data recorded by its length."""

    async def shortened(world: World) -> None:
        try:
            await scenario(world)
        finally:
            world.events[:] = [
                tuple(len(part) if isinstance(part, bytes) else part for part in event)
                for event in world.events
            ]

    return compare(shortened)


@pytest.mark.parametrize("local", [INET, INET6])
def test_connected(local: Any) -> None:
    async def scenario(world: World) -> None:
        peer = plain(world, local)
        address = peer.getsockname()[:2]
        transport, _ = await endpoint(world, remote_addr=address)
        full = transport._address
        for given in (None, full):
            transport.sendto(b"known", given)
            world.record("peer", peer.recv(100))
        for wrong in (("127.0.0.1", 1), "x", 5, (), [*full]):
            world.attempt("sendto", functools.partial(transport.sendto, b"x", wrong))
        peer.sendto(b"back", transport.get_extra_info("sockname"))
        stranger = plain(world, local)
        stranger.sendto(b"stranger", transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received")
        await world.turns()
        world.record("peername", transport.get_extra_info("peername") == peer.getsockname())

    events = compare(scenario)
    assert names(events).count("datagram_received") == 1
    assert ("peername", True) in events


@pytest.mark.parametrize("data", ["text", None, 5, [1], object], ids=repr)
def test_data_of_a_wrong_type(data: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        world.attempt("sendto", lambda: transport.sendto(data, ("127.0.0.1", 9)))
        world.record("closing", transport.is_closing())

    assert ("closing", False) in compare(scenario)


@pytest.mark.parametrize(
    "address",
    [
        None,
        "127.0.0.1",
        5,
        (),
        ("127.0.0.1",),
        ("127.0.0.1", 99_999),
        ("127.0.0.1", -1),
        ("127.0.0.1", "9"),
        ("127.0.0.1", 9, 0),
        (1, 2),
        ["127.0.0.1", 9],
        ("<broadcast>", 9),
        ("127.0.0.1", 0),
    ],
    ids=repr,
)
@pytest.mark.parametrize("local", [INET, INET6])
def test_wrong_address(local: Any, address: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=local)
        world.attempt("sendto", lambda: transport.sendto(b"x", address))
        world.record("closing", transport.is_closing())
        await world.turns()

    compare(scenario)


@pytest.mark.parametrize("host", ["localhost", "", "127.0.0.1"])
def test_names_for_hosts(host: str) -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        peer = plain(world)
        transport.sendto(b"hello", (host, peer.getsockname()[1]))
        world.record("peer", peer.recv(100))

    assert ("peer", b"hello") in compare(scenario)


def test_addresses_with_scopes() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET6)
        peer = plain(world, INET6)
        port = peer.getsockname()[1]
        for address in (("::1", port), ("::1", port, 0), ("::1", port, 5, 1)):
            transport.sendto(b"hello", address)
            world.record("hello", peer.recv(100))
        world.attempt("flow", lambda: transport.sendto(b"x", ("::1", port, 1 << 20)))
        await world.turns()

    assert names(compare(scenario)).count("hello") == 3


def test_datagram_larger_than_any() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        peer = plain(world)
        world.record("before")
        transport.sendto(b"x" * 70_000, peer.getsockname())
        world.record("after", transport.is_closing(), transport.get_write_buffer_size())
        transport.sendto(b"fits", peer.getsockname())
        world.record("peer", peer.recv(100))

    events = compare(scenario)
    assert names(events)[1:5] == ["before", "error_received", "after", "peer"]


def test_nobody_listens() -> None:
    async def scenario(world: World) -> None:
        gone = plain(world)
        address = gone.getsockname()
        gone.close()
        transport, _ = await endpoint(world, remote_addr=address)
        transport.sendto(b"anybody?")
        await world.until_saw("error_received")
        world.record("closing", transport.is_closing())
        transport.sendto(b"anybody?")
        transport.sendto(b"not sent: the error of the one before is raised instead")
        await world.turns()

    events = compare(scenario)
    assert ("closing", False) in events
    assert names(events).count("error_received") == 2


def test_errors_before_data() -> None:
    async def scenario(world: World) -> None:
        first = plain(world)
        transport, _ = await endpoint(world, remote_addr=first.getsockname())
        mine = transport.get_extra_info("sockname")
        first.sendto(b"one", mine)
        first.sendto(b"two", mine)
        first.close()
        # Its error is the first thing that the socket tells.
        socket.socket.send(transport.get_extra_info("socket")._sock, b"x")
        await world.until_saw("datagram_received", 2)

    events = compare(scenario)
    assert names(events)[1:4] == ["error_received", "datagram_received", "datagram_received"]


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("remote", [False, True])
def test_end(remote: bool, end: str) -> None:
    async def scenario(world: World) -> None:
        peer = plain(world)
        option = {"remote_addr": peer.getsockname()} if remote else {"local_addr": INET}
        transport, _ = await endpoint(world, **option)
        world.record("repr", repr(transport))
        getattr(transport, end)()
        world.record("repr", repr(transport), transport.is_closing())
        getattr(transport, end)()
        if remote:
            for _ in range(7):
                transport.sendto(b"late")
        transport.abort()
        await world.until_saw("connection_lost")
        world.record("repr", repr(transport), transport.is_closing(), transport.get_protocol())
        world.record("name", transport.get_extra_info("peername") is not None)
        world.record("fileno", transport.get_extra_info("socket").fileno())
        transport.close()
        transport.abort()
        if remote:
            transport.sendto(b"later")
        peer.setblocking(False)
        world.attempt("peer", lambda: peer.recv(100))

    events = compare(scenario)
    assert names(events).count("connection_lost") == 1
    assert not remote or names(events).count("log") == 4


def test_sendto_after_the_end_without_a_peer() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        transport.close()
        peer = plain(world)
        transport.sendto(b"still open", peer.getsockname())
        world.record("peer", peer.recv(100))
        await world.until_saw("connection_lost")
        # asyncio raises an AttributeError about its own loop here.
        for _ in range(6):
            transport.sendto(b"late", peer.getsockname())

    events = play(LOOPS["ferrio"], scenario)
    assert ("peer", b"still open") in events
    assert names(events).count("log") == 2


def test_flow_control() -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, _ = await endpoint(world, sock=ours)
        world.record("limits", transport.get_write_buffer_limits())
        transport.set_write_buffer_limits(high=2 * (2 + HEADER), low=0)
        count = fill(transport)
        world.record("count", count, transport.get_write_buffer_size(), repr(transport))
        changing = bytearray(b"%d" % count)
        transport.sendto(changing)
        changing[:] = b"?" * len(changing)
        await world.turns()
        world.record("numbers", await drain(world, peer, count + 1) == [*range(count + 1)])
        transport.set_write_buffer_limits()
        transport.sendto(b"0")
        world.record("numbers", await drain(world, peer, 1))

    events = play(LOOPS["ferrio"], scenario) if MISCOUNTS else compare(scenario)
    assert names(events).count("pause_writing") == 1
    assert names(events).count("resume_writing") == 1
    assert names(events).index("pause_writing") < names(events).index("resume_writing")
    (size,) = (event[2] for event in events if event[0] == "count")
    assert size == 3 * (2 + HEADER)
    assert ("numbers", True) in events


def test_limits_are_checked() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        for high, low in (
            (None, None),
            (10, None),
            (None, 10),
            (10, 3),
            (1, 2),
            (-1, None),
            ("x", 1),
        ):
            set_limits = functools.partial(transport.set_write_buffer_limits, high, low)
            world.attempt("set", set_limits)
            world.record("limits", transport.get_write_buffer_limits())

    assert names(compare(scenario)).count("limits") == 7


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_with_unsent_datagrams(end: str) -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, _ = await endpoint(world, sock=ours)
        count = fill(transport)
        getattr(transport, end)()
        world.record("repr", repr(transport) if end == "close" else "")
        await world.turns()
        world.record("ended", world.saw("connection_lost"))
        expected = count if end == "close" else count - 3
        world.record("numbers", await drain(world, peer, expected) == [*range(expected)])
        await world.until_saw("connection_lost")
        world.attempt("more", lambda: peer.recv(100))

    events = compare(scenario)
    assert ("ended", end == "abort") in events
    assert ("numbers", True) in events


def test_unconnected_unix_socket_waits_for_room(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(
            world, family=socket.AF_UNIX, local_addr=str(tmp_path / type(world.loop).__name__)
        )
        peer = plain(world, str(tmp_path / f"peer{type(world.loop).__name__}"))
        peer.setblocking(False)
        # The queue is full of another's datagrams: nobody tells ours when there is room again.
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        world.sockets.append(other)
        other.setblocking(False)
        others = 0
        with contextlib.suppress(BlockingIOError):
            while other.sendto(b"0", peer.getsockname()):
                others += 1
        for number in range(3):
            transport.sendto(b"%d" % number, peer.getsockname())
        world.record("waiting", transport.get_write_buffer_size())
        numbers = await drain(world, peer, others + 3)
        world.record("numbers", numbers[others:])

    events = compare(scenario)
    assert ("waiting", 3 + 3 * HEADER) in events
    assert ("numbers", (0, 1, 2)) in events


def test_unix_sockets(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        path = str(tmp_path / type(world.loop).__name__)
        received: list[Any] = []
        keep = {"datagram_received": lambda self, data, addr: received.append(addr)}
        transport, _ = await endpoint(world, keep, family=socket.AF_UNIX, local_addr=path)
        world.record("names", transport.get_extra_info("sockname") == path)
        peer = plain(world, path + "-peer")
        nameless = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        world.sockets.append(nameless)
        abstract = plain(world, f"\0{path}")
        for sender in (peer, nameless, abstract):
            sender.sendto(b"hello", path)
        await world.until_saw("datagram_received", 3)
        world.record("from", received == [path + "-peer", None, f"\0{path}".encode()])
        for address in (received[0], received[2]):
            transport.sendto(b"answer", address)
        world.record("peer", peer.recv(100), abstract.recv(100))
        transport.sendto(b"nobody", path + "-nobody")

    events = compare(lambda world: unnamed(scenario, world))
    assert ("from", True) in events
    assert names(events)[-2] == "error_received"


async def unnamed(scenario: Any, world: World) -> None:
    """Run the scenario; addresses that are paths are not recorded."""
    await scenario(world)
    world.events[:] = [
        event[:2] if event[0] == "datagram_received" else event for event in world.events
    ]


def test_large_unix_datagrams(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        await endpoint(world, sock=ours)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        peer.sendto(b"x" * 150_000, ours.getsockname())
        await world.until_saw("datagram_received")

    events = compare_sizes(lambda world: unnamed(scenario, world))
    assert ("datagram_received", 150_000) in events


def test_socketpair_without_names() -> None:
    """asyncio takes such a socket for an unconnected one, and fails to send."""

    async def scenario(world: World) -> None:
        ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        world.sockets.append(peer)
        transport, _ = await endpoint(world, sock=ours)
        transport.sendto(b"question")
        world.record("peer", peer.recv(100))
        peer.send(b"answer")
        await world.until_saw("datagram_received")

    events = play(LOOPS["ferrio"], scenario)
    assert ("peer", b"question") in events
    assert ("datagram_received", b"answer", None) in events


class Subclass(socket.socket):
    """Its methods are called, whatever they do."""

    def recvfrom(self, *args: Any) -> Any:
        data, address = super().recvfrom(*args)
        return data.upper(), address

    def sendto(self, data: Any, address: Any) -> Any:  # type: ignore[override]
        return super().sendto(bytes(data).replace(b"h", b"j"), address)

    def send(self, data: Any, flags: int = 0) -> int:
        return super().send(bytes(data).replace(b"h", b"y"), flags)


@pytest.mark.parametrize("connected", [False, True])
def test_subclass_of_socket(connected: bool) -> None:
    async def scenario(world: World) -> None:
        peer = plain(world)
        ours = Subclass(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(INET)
        if connected:
            ours.connect(peer.getsockname())
        transport, protocol = await endpoint(world, sock=ours)
        protocol.who[peer.getsockname()] = "peer"
        transport.sendto(b"hello", peer.getsockname())
        world.record("peer", peer.recv(100))
        peer.sendto(b"hello", ours.getsockname())
        await world.until_saw("datagram_received")
        transport.sendto(b"x" * 70_000, peer.getsockname())

    events = compare(scenario)
    assert ("peer", b"yello" if connected else b"jello") in events
    assert ("datagram_received", b"HELLO", "peer") in events
    assert "error_received" in names(events)


class Choosy(socket.socket):
    """Blocks when it likes while the system is ready: keeps some datagrams to itself, and waits before it sends one."""

    refused = 0

    def recvfrom(self, *args: Any) -> Any:
        data, address = super().recvfrom(*args)
        if data.startswith(b"!"):
            raise BlockingIOError("not for the protocol")
        return data, address

    def sendto(self, data: Any, address: Any) -> Any:  # type: ignore[override]
        self.refused += 1
        if self.refused % 2:
            raise BlockingIOError("in a moment")
        return super().sendto(data, address)


def test_subclass_of_socket_that_blocks_while_the_system_is_ready() -> None:
    async def scenario(world: World) -> None:
        peer = plain(world)
        ours = Choosy(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(INET)
        transport, protocol = await endpoint(world, sock=ours)
        protocol.who[peer.getsockname()] = "peer"
        for data in b"!one", b"two", b"!three", b"four":
            peer.sendto(data, ours.getsockname())
        await world.until_saw("datagram_received", 2)
        for data in b"five", b"six":
            transport.sendto(data, peer.getsockname())
        transport.close()
        await world.until_saw("connection_lost")
        world.record("peer", [peer.recv(100), peer.recv(100)])

    events = compare(scenario)
    assert ("datagram_received", b"four", "peer") in events
    assert "connection_lost" in names(events)


def test_extra_info() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        sock = transport.get_extra_info("socket")
        world.record("socket", type(sock).__name__, sock is transport.get_extra_info("socket"))
        world.record("sockname", transport.get_extra_info("sockname") == sock.getsockname())
        world.record("peername", transport.get_extra_info("peername", "default"))
        world.record(
            "unknown", transport.get_extra_info("unknown"), transport.get_extra_info("x", 5)
        )
        world.attempt("unhashable", lambda: transport.get_extra_info([]))
        world.record("transport", isinstance(transport, asyncio.Transport))
        world.attempt("write", lambda: transport.write(b"x"))
        world.attempt("add_reader", lambda: world.loop.add_reader(sock.fileno(), print))
        world.attempt("add_writer", lambda: world.loop.add_writer(sock.fileno(), print))

    events = compare(scenario)
    assert ("transport", True) in events
    assert isinstance_of_datagram_transport()


def isinstance_of_datagram_transport() -> bool:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=INET
        )
        transport.close()
        return isinstance(transport, asyncio.DatagramTransport)

    return ferrio.run(main())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"family": socket.AF_INET},
        {"local_addr": INET, "reuse_port": True},
        {"local_addr": INET, "allow_broadcast": True},
        {"remote_addr": ("127.0.0.1", 9), "allow_broadcast": True},
        {"local_addr": INET, "remote_addr": ("127.0.0.1", 9)},
        {"local_addr": INET, "remote_addr": ("::1", 9)},
        {"local_addr": ("127.0.0.1", 0, 0)},
        {"local_addr": "127.0.0.1"},
        {"local_addr": 5, "family": socket.AF_UNIX},
        {"local_addr": ("192.0.2.1", 0)},
        {"sock": "stream"},
        {"sock": "datagram", "local_addr": INET},
    ],
    ids=repr,
)
def test_options(options: dict[str, Any]) -> None:
    async def scenario(world: World) -> None:
        given = dict(options)
        if "sock" in given:
            kind = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}[given["sock"]]
            given["sock"] = socket.socket(socket.AF_INET, kind)
            world.sockets.append(given["sock"])
        try:
            transport, _ = await endpoint(world, **given)
        except (OSError, TypeError, ValueError) as error:
            world.record("raised", type(error).__name__, getattr(error, "errno", None))
            return
        sock = transport.get_extra_info("socket")
        for option in ("SO_BROADCAST", "SO_REUSEPORT"):
            world.record(option, bool(sock.getsockopt(socket.SOL_SOCKET, getattr(socket, option))))
        world.record("peername", transport.get_extra_info("peername"))

    compare(scenario)


def test_reuse_port() -> None:
    async def scenario(world: World) -> None:
        first, _ = await endpoint(world, local_addr=INET, reuse_port=True)
        address = first.get_extra_info("sockname")
        second, _ = await endpoint(world, local_addr=address, reuse_port=True)
        world.record("same", second.get_extra_info("sockname") == address)

    assert ("same", True) in compare(scenario)


def test_a_socket_that_somebody_made_blocking_stops_nothing() -> None:
    async def scenario(world: World) -> None:
        ours, peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), plain(world)
        ours.bind(INET)
        ours.setblocking(False)
        transport, _ = await endpoint(world, sock=ours)
        ours.setblocking(True)
        for number in range(3):
            peer.sendto(b"%d" % number, ours.getsockname())
        await world.until_saw("datagram_received", 3)
        await world.turns()
        transport.sendto(b"answer", peer.getsockname())
        world.record("answer", peer.recv(100))

    assert ("answer", b"answer") in compare(scenario)


@pytest.mark.parametrize("kind", ["a subclass", "netlink"])
def test_the_names_are_those_of_the_python_socket(kind: str) -> None:
    class Renamed(socket.socket):
        def getsockname(self) -> Any:
            return ("here", 1)

        def getpeername(self) -> Any:
            return ("there", 2)

    async def scenario(world: World) -> None:
        if kind == "netlink":
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM)
            sock.bind((0, 0))
        else:
            sock = Renamed(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(INET)
        sock.setblocking(False)
        names = sock.getsockname(), sock.getpeername()
        transport, _ = await endpoint(world, sock=sock)
        told = [transport.get_extra_info(name) for name in ("sockname", "peername")]
        world.record("names", told == list(names))

    assert ("names", True) in compare(scenario)
