"""Datagrams: what the protocol sees, what is raised and logged, and what becomes of what doesn't fit."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import os
import resource
import socket
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ferrio
import pytest

from .world import LOOPS, Action, Event, World, compare, names, play

INET = ("127.0.0.1", 0)
INET6 = ("::1", 0)
HAS_PAUSE = sys.version_info >= (3, 12)
# What flow control counts for a datagram beside its data.
HEADER = 8 if sys.version_info >= (3, 13) else 0
# Python 3.13's asyncio does not take it off again when the datagram is sent.
MISCOUNTS = sys.version_info[:2] == (3, 13)


class Recorder(asyncio.DatagramProtocol):
    """Records each callback, then does what `on` has under its name. An address is recorded by its name in `who`."""

    transport: Any = None

    def __init__(
        self, world: World, on: dict[str, Action] | None = None, who: dict[Any, str] | None = None
    ) -> None:
        self.world = world
        self.on = on or {}
        self.who = who if who is not None else {}

    def _record(self, name: str, *args: Any) -> None:
        shown = [
            self.who.get(arg, type(arg).__name__) if isinstance(arg, tuple) else arg for arg in args
        ]
        self.world.record(name, *shown)
        action = self.on.get(name)
        if action:
            action(self, *args)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._record("connection_made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert type(data) is bytes
        self._record("datagram_received", data, addr)

    def error_received(self, exc: Exception) -> None:
        self._record("error_received", exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._record("connection_lost", exc)

    def pause_writing(self) -> None:
        self._record("pause_writing")

    def resume_writing(self) -> None:
        self._record("resume_writing")


async def endpoint(
    world: World, on: dict[str, Action] | None = None, **options: Any
) -> tuple[Any, Recorder]:
    """A transport and its recorder."""
    transport, protocol = await world.loop.create_datagram_endpoint(
        lambda: Recorder(world, on), **options
    )
    world.transports.append(transport)
    return transport, protocol


def plain(world: World, local: Any = INET) -> socket.socket:
    """A plain socket of the address's family, bound to it."""
    family = socket.AF_INET6 if local == INET6 else socket.AF_INET
    sock = socket.socket(family if isinstance(local, tuple) else socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(local)
    sock.settimeout(5)
    world.sockets.append(sock)
    return sock


def pair(world: World) -> tuple[socket.socket, socket.socket]:
    """Two connected Unix sockets with paths, so that asyncio takes them for connected: ours and the peer's."""
    ours, peer = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (ours, peer):
        sock.bind("")  # The system gives an abstract name.
        sock.setblocking(False)
    ours.connect(peer.getsockname())
    world.sockets.append(peer)
    return ours, peer


def fill(transport: Any, address: Any = None) -> int:
    """Send numbered datagrams until three wait. Return how many."""
    count = waiting = 0
    while waiting < 3:
        transport.sendto(b"%d" % count, address)
        count += 1
        waiting += transport.get_write_buffer_size() > 0
    return count


async def drain(world: World, peer: socket.socket, count: int) -> list[int]:
    """Receive that many numbered datagrams from a plain socket."""
    numbers: list[int] = []
    while len(numbers) < count:
        try:
            numbers.append(int(peer.recv(100)))
        except BlockingIOError:
            await asyncio.sleep(0)
    return numbers


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


def boom(*args: Any) -> None:
    raise ValueError("boom")


def burst(world: World, count: int, target: Any) -> None:
    """That many numbered datagrams, from one sender, before the loop looks."""
    sender = plain(world)
    for number in range(count):
        sender.sendto(b"%d" % number, target)


def numbers(events: list[Event]) -> list[int]:
    """The numbers of the datagrams received, in their order."""
    return [int(event[1]) for event in events if event[0] == "datagram_received"]


@pytest.mark.parametrize("debug", [False, True])
def test_datagram_received_raises(debug: bool) -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, {"datagram_received": boom}, local_addr=INET)
        burst(world, 5, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 5)
        await world.turns()
        world.record("closing", transport.is_closing())

    events = compare(scenario, debug)
    assert numbers(events) == [*range(5)]
    assert names(events).count("exception_handler") == 5
    assert ("closing", False) in events


@pytest.mark.parametrize("name", ["connection_made", "error_received", "connection_lost"])
def test_other_callbacks_raise(name: str) -> None:
    async def scenario(world: World) -> None:
        gone = plain(world)
        address = gone.getsockname()
        gone.close()
        transport, _ = await endpoint(world, {name: boom}, remote_addr=address)
        transport.sendto(b"anybody?")
        await world.until_saw("error_received")
        world.attempt("too large", lambda: transport.sendto(b"x" * 70_000))
        world.record("closing", transport.is_closing())
        transport.close()
        await world.until_saw("connection_lost")
        await world.turns()

    assert "exception_handler" in names(compare(scenario))


def test_flow_control_callbacks_raise() -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, _ = await endpoint(
            world, {"pause_writing": boom, "resume_writing": boom}, sock=ours
        )
        transport.set_write_buffer_limits(high=0)
        count = fill(transport)
        await drain(world, peer, count)
        await world.turns()

    events = play(LOOPS["ferrio"], scenario) if MISCOUNTS else compare(scenario)
    assert names(events)[1:] == [
        "pause_writing",
        "exception_handler",
        "resume_writing",
        "exception_handler",
        "connection_lost",
    ]


@pytest.mark.skipif(not HAS_PAUSE, reason="asyncio's can't pause before Python 3.12")
def test_pause_amid_a_burst() -> None:
    async def scenario(world: World) -> None:
        def third(self: Recorder, data: bytes, addr: Any) -> None:
            if data == b"2":
                self.transport.pause_reading()
                self.transport.pause_reading()

        transport, _ = await endpoint(world, {"datagram_received": third}, local_addr=INET)
        burst(world, 10, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 3)
        await world.turns()
        world.record("paused", transport.is_reading(), repr(transport))
        transport.resume_reading()
        transport.resume_reading()
        world.record("resumed", transport.is_reading())
        await world.until_saw("datagram_received", 10)

    events = compare(scenario)
    assert numbers(events) == [*range(10)]
    assert names(events).index("paused") == 4


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_amid_a_burst(end: str) -> None:
    async def scenario(world: World) -> None:
        def third(self: Recorder, data: bytes, addr: Any) -> None:
            if data == b"2":
                getattr(self.transport, end)()

        transport, _ = await endpoint(world, {"datagram_received": third}, local_addr=INET)
        burst(world, 10, transport.get_extra_info("sockname"))
        await world.until_saw("connection_lost")

    assert numbers(compare(scenario)) == [0, 1, 2]


def test_set_protocol_amid_a_burst() -> None:
    async def scenario(world: World) -> None:
        other = Recorder(world, who={})

        def third(self: Recorder, data: bytes, addr: Any) -> None:
            if data == b"2":
                self.transport.set_protocol(other)
                world.record("same", self.transport.get_protocol() is other)

        other.on["connection_lost"] = lambda self, exc: world.record("other")
        transport, _ = await endpoint(world, {"datagram_received": third}, local_addr=INET)
        burst(world, 5, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 5)
        transport.close()
        await world.until_saw("connection_lost")
        await world.turns()

    events = compare(scenario)
    assert names(events)[-1] == "other"


def test_a_burst_leaves_turns_to_others() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        burst(world, 150, transport.get_extra_info("sockname"))
        while not world.saw("datagram_received", 150):
            world.record("turn")
            await asyncio.sleep(0)

    events = play(LOOPS["ferrio"], scenario)
    assert numbers(events) == [*range(150)]
    together = " ".join(names(events)).split("turn")
    assert max(piece.count("datagram_received") for piece in together) <= 32


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_amid_a_burst(error: type[BaseException]) -> None:
    received: list[bytes] = []
    loop = ferrio.new_event_loop()

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.append(data)
            if data == b"1":
                raise error
            if data == b"3":
                loop.stop()

    async def begin() -> Any:
        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=INET)
        return transport

    transport = loop.run_until_complete(begin())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(4):
            sender.sendto(b"%d" % number, transport.get_extra_info("sockname"))
    with pytest.raises(error):
        loop.run_forever()
    assert received == [b"0", b"1"]
    loop.run_forever()
    assert received == [b"0", b"1", b"2", b"3"]
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_context() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")

    async def scenario(world: World) -> None:
        def note(self: Recorder, *args: Any) -> None:
            world.record("variable", variable.get())
            variable.set("changed by a callback")

        variable.set("from the maker")
        on = dict.fromkeys(("connection_made", "datagram_received", "connection_lost"), note)
        transport, _ = await endpoint(world, on, local_addr=INET)
        variable.set("changed later")
        burst(world, 2, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 2)
        transport.close()
        await world.until_saw("connection_lost")
        world.record("variable", variable.get())

    assert names(compare(scenario)).count("variable") == 5


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


def test_unclosed() -> None:
    async def scenario(world: World) -> None:
        await world.loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=INET)

    assert compare(scenario) == [
        ("warning", "ResourceWarning", "unclosed transport <Transport fd=N>")
    ]


def test_collected_with_its_protocol() -> None:
    references: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

        transport, protocol = await loop.create_datagram_endpoint(Protocol, local_addr=INET)
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        references.extend([weakref.ref(transport), weakref.ref(protocol)])

    def run() -> None:
        ferrio.run(main())
        gc.collect()

    with pytest.warns(ResourceWarning, match=r"unclosed transport <ferrio\.DatagramTransport"):
        run()
    # The recorded warning, gone now, held the transport as its source.
    gc.collect()
    assert [reference() for reference in references] == [None, None]


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


@pytest.mark.skipif(not HAS_PAUSE, reason="asyncio's can't pause before Python 3.12")
@pytest.mark.parametrize("how", ["paused", "paused early", "paused, sent later"])
def test_the_loop_keeps_none_of_which_nothing_is_wanted(how: str) -> None:
    class Keeps(Recorder):
        def connection_made(self, transport: Any) -> None:
            if how == "paused early":
                transport.pause_reading()

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.world.record("datagram_received", data)

    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, protocol = await world.loop.create_datagram_endpoint(
            lambda: Keeps(world), sock=ours
        )
        if how != "paused early":
            transport.pause_reading()
        await world.turns()
        if how == "paused, sent later":
            count = fill(transport)
            del transport, protocol
            gc.collect()
            world.record("waiting", ours.fileno() != -1)
            world.record("numbers", await drain(world, peer, count) == [*range(count)])
        else:
            # What came meanwhile is received, and what comes afterwards.
            peer.sendto(b"meanwhile", ours.getsockname())
            await world.turns()
            transport.resume_reading()
            peer.sendto(b"afterwards", ours.getsockname())
            await world.until_saw("datagram_received", 2)
            transport.pause_reading()
            del transport, protocol
        await world.turns()
        gc.collect()
        world.record("closed", ours.fileno() == -1)

    events = compare(scenario)
    assert ("closed", True) in events
    assert "warning" in names(events)
    if how == "paused, sent later":
        assert [event for event in events if event[0] in ("waiting", "numbers")] == [
            ("waiting", True),
            ("numbers", True),
        ]


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_ten_thousand_rounds_leak_nothing() -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    class Client(Echo):
        lost: asyncio.Future[None]

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(None)

    async def rounds(count: int) -> None:
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=INET)
        address = server.get_extra_info("sockname")
        for _ in range(count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(address)
            transport, client = await loop.create_datagram_endpoint(Client, sock=sock)
            client.lost = loop.create_future()
            transport.sendto(b"there and back")
            await client.lost
        server.close()

    def measure(count: int) -> tuple[int, int, int]:
        ferrio.run(rounds(count))
        gc.collect()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return open_descriptors(), len(gc.get_objects()), peak

    measure(1000)
    descriptors, objects, peak = measure(1000)
    after = measure(10_000)
    assert after[0] == descriptors
    assert after[1] - objects < 100
    # Kibibytes: a leak of 100 bytes a round would be a thousand.
    assert after[2] - peak < 900


def test_the_tuples_of_many_peers_are_kept_and_each_is_answered() -> None:
    """The tuples come back as the same objects as long as the table has places: but for a few whose places coincide."""
    heard: dict[Any, list[Any]] = {}

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            heard.setdefault(addr, []).append(addr)
            self.transport.sendto(data, addr)

    def ask(loop: asyncio.AbstractEventLoop, peer: socket.socket, address: Any, text: bytes) -> Any:
        peer.sendto(text, address)
        return loop.sock_recv(peer, 100)

    def new_peer() -> socket.socket:
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        peer.setblocking(False)
        peer.bind(INET)
        return peer

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Server, local_addr=INET)
        address = server.get_extra_info("sockname")
        peers = [new_peer() for _ in range(64)]
        for turn in range(3):
            for number, peer in enumerate(peers):
                text = b"%d %d" % (turn, number)
                assert await ask(loop, peer, address, text) == text
        names = [peer.getsockname() for peer in peers]
        assert sorted(heard) == sorted(names)
        kept = [name for name in names if heard[name][1] is heard[name][2]]
        assert len(kept) > 40
        # More than the table ever holds.
        heard.clear()
        for number in range(1500):
            with new_peer() as peer:
                text = b"%d" % number
                assert await ask(loop, peer, address, text) == text
                assert peer.getsockname() in heard
        for number, peer in enumerate(peers):
            text = b"again %d" % number
            assert await ask(loop, peer, address, text) == text
            assert peer.getsockname() in heard
            peer.close()
        server.close()

    ferrio.run(main())


@pytest.fixture(autouse=True)
def _no_garbage_of_others() -> None:
    gc.collect()
