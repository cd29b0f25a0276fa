"""Handshakes that the peer, a time-out or a cancellation breaks off, after each flight and on each side."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.transport.world import Recorder, World, names, reset

from .support import TLS12, TLS13, Certificates
from .world import Encrypted, Peer, compare

both_modes = pytest.mark.parametrize("debug", [False, True], ids=["quiet", "debug"])


@pytest.fixture(params=[TLS12, TLS13], ids=["1.2", "1.3"])
def encrypted(certificates: Certificates, request: pytest.FixtureRequest) -> Encrypted:
    """Encrypted connections, of each version."""
    return Encrypted(certificates, request.param)


async def _end(peer: Peer, flight: bytes) -> None:
    peer.sock.shutdown(socket.SHUT_WR)


async def _end_within_a_flight(peer: Peer, flight: bytes) -> None:
    await peer.send_raw(flight[: len(flight) // 2])
    peer.sock.shutdown(socket.SHUT_WR)


async def _reset(peer: Peer, flight: bytes) -> None:
    reset(peer.sock)


async def _garbage(peer: Peer, flight: bytes) -> None:
    await peer.send_raw(b"GET / HTTP/1.1\r\n\r\n")


async def _garbage_within_a_flight(peer: Peer, flight: bytes) -> None:
    await peer.send_raw(flight[:20] + b"\0" * len(flight[20:]))


async def _alert(peer: Peer, flight: bytes) -> None:
    await peer.send_raw(b"\x15\x03\x03\x00\x02\x02\x28")  # fatal, handshake failure


async def _other_flight(peer: Peer, flight: bytes) -> None:
    await peer.send_raw(b"\x17\x03\x03\x00\x05early")


BREAKS: dict[str, Callable[[Peer, bytes], Any]] = {
    "end": _end,
    "end within a flight": _end_within_a_flight,
    "reset": _reset,
    "garbage": _garbage,
    "garbage within a flight": _garbage_within_a_flight,
    "alert": _alert,
    "data": _other_flight,
}


# Our side, and after how many of its flights the handshake goes wrong.
CASES = [("client", 1), ("server", 0), ("server", 1), ("upgraded", 1)]
each_case = pytest.mark.parametrize(("side", "number"), CASES)


async def _outcome(world: World, side: str, connecting: asyncio.Future[Any]) -> None:
    """Record how an attempt to connect has ended."""
    if side == "server":
        connecting.cancel()
    try:
        await connecting
    except (OSError, asyncio.CancelledError) as error:
        world.record("failed", error)


async def _until_told(world: World, side: str, connecting: asyncio.Future[Any]) -> None:
    """Wait until our side knows. A server tells only in debug mode; then the peer's socket does."""
    if side == "server":
        await world.until_saw("exception_handler")
    else:
        await asyncio.wait([connecting])
    await world.turns()


@pytest.mark.parametrize("how", BREAKS)
@each_case
def test_broken_by_the_peer(encrypted: Encrypted, side: str, number: int, how: str) -> None:
    async def scenario(world: World) -> None:
        connecting, peer = await encrypted.begin(world, lambda: Recorder(world), side)
        await BREAKS[how](peer, await peer.flight(number))
        await _until_told(world, side, connecting)
        await _outcome(world, side, connecting)
        if peer.sock.fileno() >= 0:
            await peer.until_closed()

    events = compare(scenario, debug=True)
    assert "failed" in names(events)
    assert ("connection_made" in names(events)) == (side == "upgraded")


@pytest.mark.parametrize("how", ["end", "reset", "garbage"])
@pytest.mark.parametrize("side", ["client", "upgraded"])
def test_only_debug_mode_reports(encrypted: Encrypted, side: str, how: str) -> None:
    async def scenario(world: World) -> None:
        connecting, peer = await encrypted.begin(world, lambda: Recorder(world), side)
        await BREAKS[how](peer, await peer.flight(1))
        await _outcome(world, side, connecting)
        await world.turns()

    events = compare(scenario)
    assert "log" not in names(events)
    assert "exception_handler" not in names(events)


@both_modes
@each_case
def test_handshake_that_takes_too_long(
    encrypted: Encrypted, side: str, number: int, debug: bool
) -> None:
    async def scenario(world: World) -> None:
        connecting, peer = await encrypted.begin(
            world, lambda: Recorder(world), side, ssl_handshake_timeout=0.02
        )
        await peer.flight(number)
        await peer.until_closed()
        await world.turns()
        await _outcome(world, side, connecting)

    events = compare(scenario, debug)
    assert "peer_closed" in names(events)


@both_modes
@pytest.mark.parametrize("side", ["client", "upgraded"])
def test_cancelled_handshake(encrypted: Encrypted, side: str, debug: bool) -> None:
    async def scenario(world: World) -> None:
        connecting, peer = await encrypted.begin(world, lambda: Recorder(world), side)
        await peer.flight(1)
        connecting.cancel()
        await _outcome(world, side, connecting)
        await peer.until_closed()
        await world.turns()

    events = compare(scenario, debug)
    assert ("failed", ("CancelledError", None, "")) in events
    assert "peer_closed" in names(events)


@both_modes
def test_cancelled_while_a_server_s_side_shakes_hands(
    certificates: Certificates, debug: bool
) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        ours, theirs = world.pair()
        peer = encrypted.peer(world, theirs, "server")
        connecting = asyncio.ensure_future(
            world.loop.connect_accepted_socket(
                lambda: Recorder(world), ours, ssl=encrypted.server_context
            )
        )
        await peer.flight(1)
        connecting.cancel()
        await _outcome(world, "client", connecting)
        await peer.until_closed()
        await world.turns()

    assert ("failed", ("CancelledError", None, "")) in compare(scenario, debug)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
@pytest.mark.parametrize("way", ["close_clients", "abort_clients"])
@pytest.mark.parametrize("shaken", [False, True], ids=["in the handshake", "after it"])
def test_clients_of_a_server_are_closed(encrypted: Encrypted, way: str, shaken: bool) -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(
            lambda: Recorder(world), "127.0.0.1", 0, ssl=encrypted.server_context
        )
        theirs = socket.create_connection(server.sockets[0].getsockname())
        theirs.setblocking(False)
        world.sockets.append(theirs)
        peer = encrypted.peer(world, theirs, "server")
        if shaken:
            await peer.handshake()
            await world.until_saw("connection_made")
        else:
            await peer.flight(1)
        server.close()
        getattr(server, way)()
        if shaken and way == "close_clients":
            await peer.read()
            theirs.close()
        else:
            await peer.until_closed()
        await server.wait_closed()
        await world.turns()

    compare(scenario)


# --- start_tls on transports in each state


async def _upgrade(world: World, encrypted: Encrypted, transport: Any, protocol: Any) -> None:
    """Record what `start_tls` returns or raises."""
    try:
        protocol.transport = await world.loop.start_tls(
            transport, protocol, encrypted.client_context, server_hostname="localhost"
        )
    except Exception as error:
        world.record("refused", error)
    else:
        world.record("upgraded")


@pytest.mark.parametrize("state", ["closing", "aborted", "closed", "with data waiting", "paused"])
def test_start_tls_on_a_transport_that_is(certificates: Certificates, state: str) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        transport, protocol, theirs = await world.connect(lambda: Recorder(world))
        peer = encrypted.peer(world, theirs, "upgraded")
        count = 0
        if state == "closing" or state == "with data waiting":
            count = await world.fill(transport)
        if state == "closing":
            transport.close()
        elif state == "aborted":
            transport.abort()
        elif state == "closed":
            transport.close()
            await world.until_saw("connection_lost")
        elif state == "paused":
            transport.pause_reading()
        upgrading = asyncio.ensure_future(_upgrade(world, encrypted, transport, protocol))
        if state in ("aborted", "closed"):
            # asyncio's waits for the end of its handshake's time.
            upgrading.cancel()
            await asyncio.wait([upgrading])
            return
        await world.turns()
        if count:
            # What was written before leaves before, unencrypted.
            world.record("plain", len(await world.peer_reads(theirs, count)) == count)
        if state in ("with data waiting", "paused"):
            await peer.handshake()
            await upgrading
            protocol.transport.write(b"encrypted")
            world.record("peer", await peer.read(9))
            await peer.send(b"hello")
            await world.until(lambda: world.received() == 5)
            protocol.transport.abort()
            await world.until_saw("connection_lost")
        else:
            theirs.close()
            await upgrading

    compare(scenario)
