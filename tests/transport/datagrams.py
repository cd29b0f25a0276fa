"""What the tests of datagrams have in common: a protocol that records, endpoints and plain sockets."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

from .world import Action, World

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
