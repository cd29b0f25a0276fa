"""Hostile circumstances: signals without end, peers that never read or that reset. The loop survives and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import ferrio
import pytest

from .world import reset


@pytest.fixture
def stream_of_signals() -> Iterator[list[int]]:
    """Interrupt this process all the time; what the handler was called with so far."""
    handled: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))
    # System calls don't go on by themselves.
    signal.siginterrupt(signal.SIGALRM, True)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    yield handled
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


async def _stream(path: str | None) -> None:
    loop = asyncio.get_running_loop()
    if path is None:
        server = await loop.create_server(_Echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    else:
        server = await loop.create_unix_server(_Echo, path)
        reader, writer = await asyncio.open_unix_connection(path)
    data = os.urandom(1 << 22)
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    writer.close()
    await writer.wait_closed()
    server.close()


async def _sockets() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        data = os.urandom(1 << 22)
        sending = asyncio.ensure_future(loop.sock_sendall(left, data))
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(right, 1 << 16)
        await sending
        assert received == data


async def _datagrams() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_DatagramEcho, local_addr=("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.connect(transport.get_extra_info("sockname"))
        for number in range(300):
            await loop.sock_sendall(peer, b"%d" % number)
            assert await loop.sock_recv(peer, 100) == b"%d" % number
    transport.close()


async def _pipes() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    transport, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(writing, "wb"))
    data = os.urandom(1 << 21)
    transport.write(data)
    transport.close()
    assert await reader.read() == data


async def _child() -> None:
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    data = os.urandom(1 << 20)
    assert await child.communicate(data) == (data, None)
    assert child.returncode == 0


@pytest.mark.parametrize("kind", ["tcp", "unix", "sockets", "datagrams", "pipes", "child"])
def test_signals_without_end(kind: str, stream_of_signals: list[int], tmp_path: Any) -> None:
    async def main() -> None:
        works = {
            "tcp": lambda: _stream(None),
            "unix": lambda: _stream(str(tmp_path / "socket")),
            "sockets": _sockets,
            "datagrams": _datagrams,
            "pipes": _pipes,
            "child": _child,
        }
        # Until some have certainly come in between.
        while True:
            before = len(stream_of_signals)
            await works[kind]()
            if len(stream_of_signals) >= before + 3:
                break

    ferrio.run(main())


def test_a_peer_that_never_reads_costs_no_more_than_the_high_water_mark() -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            _, writer = await asyncio.open_connection(sock=ours)
            limit = writer.transport.get_write_buffer_limits()[1]
            piece = b"x" * 10_000
            for _ in range(10_000):
                writer.write(piece)
                assert writer.transport.get_write_buffer_size() <= limit + len(piece)
                draining = asyncio.ensure_future(writer.drain())
                await asyncio.sleep(0)
                if not draining.done():
                    break
            assert not draining.done()
            writer.transport.abort()
            await draining

    ferrio.run(main())


def test_resets_in_the_middle_of_writes_leave_the_others_alone() -> None:
    """Many connections at once, half of which are reset while much waits to be sent to them."""

    class Flood(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"x" * (1 << 24))
            transport.writelines([b"y"] * 100)
            transport.close()

        def connection_lost(self, error: Exception | None) -> None:
            lost.append(type(error))

    lost: list[type] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Flood, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        peers = [socket.create_connection(address) for _ in range(8)]
        for peer in peers:
            peer.setblocking(False)
            assert await loop.sock_recv(peer, 1000)
        for peer in peers[::2]:
            reset(peer)
        for peer in peers[1::2]:
            count = 0
            while data := await loop.sock_recv(peer, 1 << 16):
                count += len(data)
            assert count > 1 << 23
            peer.close()
        while len(lost) < len(peers):
            await asyncio.sleep(0)
        server.close()

    ferrio.run(main())
    assert lost.count(type(None)) == 4
    assert sum(issubclass(kind, ConnectionError) for kind in lost) == 4


# Linux's TCP_REPAIR: a socket that is closed in this state says nothing to its peer.
TCP_REPAIR = 19


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can let a peer vanish without a word")
@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, ferrio.new_event_loop])
def test_a_peer_that_vanished_is_missed_by_the_next_write(make_loop: Any) -> None:
    class Half(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            made.set_result(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    async def main() -> None:
        nonlocal made, lost
        loop = asyncio.get_running_loop()
        made, lost = loop.create_future(), loop.create_future()
        server = await loop.create_server(Half, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        transport = await made
        peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
        peer.close()
        assert not lost.done()
        transport.write(b"is anybody there?")
        assert isinstance(await asyncio.wait_for(lost, 20), ConnectionResetError)
        server.close()

    made: Any = None
    lost: Any = None
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
