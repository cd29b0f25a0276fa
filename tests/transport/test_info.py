"""What a transport tells about itself."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import Any

import pytest

from .world import Recorder, World, alike, compare

sides = pytest.mark.parametrize("side", ["client", "server", "unix"])


@sides
@pytest.mark.parametrize("asked_before", [False, True])
@pytest.mark.parametrize("way", ["open", "close", "abort", "eof"])
def test_extra_info(side: str, asked_before: bool, way: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world), side)
        local, remote = peer.getpeername(), peer.getsockname()

        def ask() -> None:
            for name in ("peername", "sockname", "cipher", "nothing", "", 5, None):
                answer = transport.get_extra_info(name)
                world.record(
                    f"{name}",
                    "local" if answer == local else "remote" if answer == remote else answer,
                )
                world.record(f"{name}", transport.get_extra_info(name, "default") == "default")
            world.attempt("unhashable", lambda: transport.get_extra_info([]))
            sock = transport.get_extra_info("socket")
            world.record("socket", type(sock).__name__, sock is transport.get_extra_info("socket"))
            world.record(
                "family", sock.family, sock.type, sock.fileno() >= 0, alike(repr(sock))[:40]
            )
            world.attempt("blocking", sock.gettimeout)

        if asked_before or way == "open":
            ask()
        if way == "eof":
            peer.close()
        elif way != "open":
            getattr(transport, way)()
        if way != "open":
            await world.until_saw("connection_lost")
            ask()

    events = compare(scenario)
    assert ("sockname", "local") in events or side == "unix"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_addresses(host: str) -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(lambda: Recorder(world, name="server "), host, 0)
        address = server.sockets[0].getsockname()
        transport, _ = await world.loop.create_connection(lambda: Recorder(world), *address[:2])
        world.record("peer", transport.get_extra_info("peername") == address)
        mine = transport.get_extra_info("socket").getsockname()
        world.record("mine", transport.get_extra_info("sockname") == mine, len(mine))
        transport.close()
        await world.until_saw("server connection_lost")
        server.close()

    events = compare(scenario)
    assert ("peer", True) in events


def test_an_ipv4_peer_of_a_dual_stack_server() -> None:
    async def scenario(world: World) -> None:
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        made = world.loop.create_future()
        server = await world.loop.create_server(
            lambda: Recorder(
                world, {"connection_made": lambda self: made.set_result(self.transport)}
            ),
            sock=listener,
        )
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
            transport = await made
            address = transport.get_extra_info("peername")
            world.record("peer", address[0], address[1] == client.getsockname()[1], address[2:])
            world.record("mine", transport.get_extra_info("sockname")[0])
        await world.until_saw("connection_lost")
        server.close()

    assert ("peer", "::ffff:127.0.0.1", True, (0, 0)) in compare(scenario)


@sides
def test_repr(side: str) -> None:
    async def scenario(world: World) -> None:
        on = {
            "connection_made": lambda self: world.record("made", repr(self.transport)),
            "connection_lost": lambda self, error: world.record("lost", repr(self.transport)),
        }
        transport, _, peer = await world.connect(lambda: Recorder(world, on), side)
        world.record("repr", repr(transport))
        transport.pause_reading()
        world.record("paused", repr(transport))
        transport.write(b"x" * 8 * 1024 * 1024)
        blocked = transport.get_write_buffer_size()
        world.record("blocked", repr(transport).replace(str(blocked), "N"))
        transport.abort()
        world.record("aborted", repr(transport))
        await world.until_saw("lost")
        await world.turns()
        world.record("closed", repr(transport))

    events = compare(scenario)
    assert ("closed", "<Transport closed fd=N>") in events
    assert ("blocked", "<Transport fd=N read=idle write=<polling, bufsize=N>>") in events


def test_repr_of_a_half_closed_one() -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(
            lambda: Recorder(world, {"eof_received": lambda self: True})
        )
        peer.shutdown(socket.SHUT_WR)
        await world.until_saw("eof_received")
        await world.turns()
        world.record("repr", repr(transport), transport.is_reading())

    assert ("repr", "<Transport fd=N read=idle write=<idle, bufsize=0>>", True) in compare(scenario)


@sides
def test_types_and_weak_references(side: str) -> None:
    async def scenario(world: World) -> None:
        transport, protocol, peer = await world.connect(lambda: Recorder(world), side)
        world.record(
            "types",
            isinstance(transport, asyncio.Transport),
            isinstance(transport, asyncio.ReadTransport),
        )
        world.record("protocol", transport.get_protocol() is protocol)
        calls: list[Any] = []
        gone = weakref.ref(transport, calls.append)
        world.record("hash", {transport: 1}[gone()], transport == gone(), transport != None)  # noqa: E711
        transport.abort()
        await world.until_saw("connection_lost")
        world.transports.clear()
        del transport, protocol.transport
        await world.turns()
        gc.collect()
        world.record("gone", gone() is None, len(calls))

    assert ("gone", True, 1) in compare(scenario)


def test_wrong_arguments() -> None:
    """Each call with too many arguments is a TypeError, as it is on asyncio."""

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        for name in (
            "write writelines write_eof can_write_eof close abort is_closing is_reading pause_reading resume_reading "
            "get_protocol set_protocol get_extra_info get_write_buffer_size get_write_buffer_limits "
            "set_write_buffer_limits"
        ).split():
            for arguments in ((1, 2, 3),):
                try:
                    getattr(transport, name)(*arguments)
                except TypeError:
                    world.record(name, "TypeError")
        world.record("closing", transport.is_closing())

    assert len(compare(scenario)) == 16 + 2 + 1
