"""Runs a scenario of encrypted connections on asyncio's loop, and on ferrio's with each engine, and compares.

The peer is a plain socket and an `ssl.SSLObject` that the scenario itself drives: it can end at any byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ferrio import _ferrio

from tests.transport.world import (
    LOOPS,
    BufferedRecorder as AnyBufferedRecorder,
    Event,
    Scenario,
    World,
    bound,
    demand_same,
    play,
)

from .support import ENGINES, Certificates

SIDES = ["client", "server", "upgraded"]

# How much a socket of ours takes before something waits.
SEND_BUFFER = 1 << 16


def compare(
    scenario: Scenario,
    debug: bool = False,
    only_asyncio: Callable[[Event], bool] = lambda event: False,
) -> list[Event]:
    """Run the scenario on asyncio and on each engine, demand the same record, and return it.

    `only_asyncio` picks the events that are asyncio's own mistakes.
    """
    expected = _sides(play(LOOPS["asyncio"], scenario, debug))
    expected = [event for event in expected if not only_asyncio(event)]
    before = _ferrio._tls_engine
    try:
        for engine in ENGINES if _ferrio.best_tls_engine() == "openssl" else ENGINES[1:]:
            _ferrio._tls_engine = engine
            demand_same(expected, _sides(play(LOOPS["ferrio"], scenario, debug)), engine)
    finally:
        _ferrio._tls_engine = before
    return expected


def _sides(events: list[Event]) -> list[Event]:
    """Our events, then the peer's: which of two ends that wait is woken first is the kernel's affair."""
    return sorted(events, key=lambda event: event[0].startswith("peer"))


class BufferedRecorder(AnyBufferedRecorder):
    """A recorder that leaves out requests for a buffer with nothing to put into it: asyncio makes some."""

    def get_buffer(self, sizehint: int) -> Any:
        self.asked = True
        return super().get_buffer(sizehint) if sizehint else self.buffer


class Peer:
    """The other end of an encrypted connection: each method does one thing, and nothing happens between them."""

    def __init__(
        self,
        world: World,
        sock: socket.socket,
        context: ssl.SSLContext,
        server_side: bool,
    ) -> None:
        self.world, self.sock = world, sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "localhost"
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=name
        )

    async def send_raw(self, data: bytes) -> None:
        """Write these bytes to the socket."""
        await self.world.peer_writes(self.sock, data)

    async def receive_raw(self) -> None:
        """Wait for bytes, and take them for what is decrypted next. Raises ConnectionResetError."""
        while True:
            try:
                data = self.sock.recv(1 << 16)
                break
            except BlockingIOError:
                await self.world._ready(
                    self.world.loop.add_reader, self.world.loop.remove_reader, self.sock
                )
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def encrypted(self, data: bytes) -> bytes:
        """The record that would carry the data."""
        self.tls.write(data)
        return self.outgoing.read()

    def last_word(self) -> bytes:
        """The `close_notify`, as a record."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def _until_done(self, call: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                result = call(*args)
            except ssl.SSLWantReadError:
                await self.send_raw(self.outgoing.read())
                await self.receive_raw()
            else:
                await self.send_raw(self.outgoing.read())
                return result

    async def handshake(self) -> None:
        """Shake hands. What goes wrong with that is recorded."""
        try:
            await self._until_done(self.tls.do_handshake)
        except (ssl.SSLError, ConnectionError) as error:
            self.world.record("peer_handshake", getattr(error, "reason", type(error).__name__))

    async def flight(self, number: int) -> bytes:
        """Shake hands until that many flights have come. Return the next of the peer's own, which is not sent."""
        for _ in range(number):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            await self.send_raw(self.outgoing.read())
            await self.receive_raw()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    async def send(self, data: bytes) -> None:
        """Send the data, encrypted."""
        await self.send_raw(self.encrypted(data))

    async def close_writing(self) -> None:
        """Send the `close_notify` and leave the connection open."""
        await self.send_raw(self.last_word())

    async def read(self, count: int | None = None) -> bytes:
        """Read `count` bytes, or to the end, which is recorded with how it came about."""
        data = bytearray()
        while count is None or len(data) < count:
            try:
                piece = await self._until_done(self.tls.read, 1 << 16)
            except ssl.SSLZeroReturnError:
                self.world.record("peer_end")
                break
            except ssl.SSLEOFError:
                self.world.record("peer_truncated")
                break
            except ssl.SSLError as error:
                self.world.record("peer_error", error.reason)
                break
            except (ConnectionResetError, BrokenPipeError):
                self.world.record("peer_reset")
                break
            if not piece:
                self.world.record("peer_end")
                break
            data += piece
        return bytes(data)

    async def until_closed(self) -> None:
        """Wait until the connection itself is closed, whatever comes before."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except BlockingIOError:
            await self.world._ready(
                self.world.loop.add_reader, self.world.loop.remove_reader, self.sock
            )
            await self.until_closed()
        except ConnectionResetError:
            self.world.record("peer_reset")
        else:
            self.world.record("peer_closed")


class Encrypted:
    """Makes encrypted connections in a world: ours on one side, a `Peer` on the other."""

    def __init__(self, certificates: Certificates, version: dict[str, Any]) -> None:
        # A ticket that the peer has not read yet would turn its end into a reset.
        self.server_context = certificates.server(num_tickets=0, **version)
        self.client_context = certificates.client(**version)

    def peer(self, world: World, sock: socket.socket, side: str) -> Peer:
        """The peer of our `side`, before its handshake."""
        if side == "server":
            return Peer(world, sock, self.client_context, server_side=False)
        return Peer(world, sock, self.server_context, server_side=True)

    async def begin(
        self, world: World, factory: Callable[[], Any], side: str, **options: Any
    ) -> tuple[asyncio.Future[Any], Peer]:
        """Begin to connect. Return the future of transport and protocol, and the peer, which has to shake hands."""
        if side == "server":
            return await self._begin_server(world, factory, **options)
        ours, theirs = world.pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        peer = self.peer(world, theirs, side)
        if side == "upgraded":
            transport, protocol = await world.loop.create_connection(factory, sock=ours)
            connecting: Any = self._upgrade(world, transport, protocol, **options)
        else:
            connecting = world.loop.create_connection(
                factory,
                sock=ours,
                ssl=self.client_context,
                server_hostname="localhost",
                **options,
            )
        return asyncio.ensure_future(connecting), peer

    async def _upgrade(self, world: World, transport: Any, protocol: Any, **options: Any) -> Any:
        protocol.transport = await world.loop.start_tls(
            transport, protocol, self.client_context, server_hostname="localhost", **options
        )
        return protocol.transport, protocol

    async def _begin_server(
        self, world: World, factory: Callable[[], Any], **options: Any
    ) -> tuple[asyncio.Future[Any], Peer]:
        protocols = []

        def make() -> Any:
            protocols.append(factory())
            return protocols[-1]

        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        server = await world.loop.create_server(
            make, sock=listener, ssl=self.server_context, **options
        )
        theirs = socket.create_connection(listener.getsockname())
        bound(theirs)
        theirs.setblocking(False)
        world.sockets.append(theirs)
        await world.until(lambda: True)
        while not protocols:
            await asyncio.sleep(0)
        server.close()

        async def accepted() -> Any:
            await world.until_saw("connection_made")
            return protocols[0].transport, protocols[0]

        return asyncio.ensure_future(accepted()), self.peer(world, theirs, "server")

    async def connect(
        self, world: World, factory: Callable[[], Any], side: str, **options: Any
    ) -> tuple[Any, Any, Peer]:
        """A transport, its protocol, and the peer, when both have shaken hands."""
        connecting, peer = await self.begin(world, factory, side, **options)
        await peer.handshake()
        transport, protocol = await connecting
        world.transports.append(transport)
        return transport, protocol, peer
