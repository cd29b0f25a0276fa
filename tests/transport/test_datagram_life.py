"""Datagrams: who keeps a transport, what is left of it, and that nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import weakref
from typing import Any

import ferrio
import pytest

from .datagrams import (
    HAS_PAUSE,
    INET,
    Recorder,
    drain,
    fill,
    pair,
)
from .world import World, compare, names

pytestmark = pytest.mark.usefixtures("no_garbage_of_others")


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
