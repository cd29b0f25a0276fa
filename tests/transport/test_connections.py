"""Connections and streams: how they are made, and how making them fails."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

from tests.interpreter import BEFORE_REPAIRS
from tests.ports import dual_stack

from .test_servers import unused_port
from .world import LOOPS, BufferedRecorder, Recorder, World, compare, names, play

both_kinds = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])


async def connect(world: World, address: Any, **options: Any) -> None:
    """Connect, and record what comes of it."""
    host, port = address
    try:
        transport, protocol = await world.loop.create_connection(
            lambda: Recorder(world), host, port, **options
        )
    except Exception as error:
        world.record(
            "failed",
            str(error).replace(str(port), "PORT"),
            type(error).__name__,
            getattr(error, "errno", 0),
        )
        for part in getattr(error, "exceptions", ()):
            world.record(
                "part", str(part).replace(str(port), "PORT"), type(part).__name__, part.errno
            )
    else:
        world.record(
            "peer", transport.get_extra_info("peername")[0], protocol.transport is transport
        )
        transport.close()
        await world.until_saw("connection_lost")


ALL_ERRORS = (
    [{}] if sys.version_info < (3, 12) else [{}, {"all_errors": True}, {"all_errors": False}]
)
WAYS: list[dict[str, Any]] = [
    {},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6},
    {"happy_eyeballs_delay": 0.25},
    {"happy_eyeballs_delay": 0.001},
    {"happy_eyeballs_delay": 0.25, "interleave": 2},
    {"interleave": 1},
    {"local_addr": ("127.0.0.1", 0)},
    {"local_addr": ("127.0.0.2", 0)},
    {"local_addr": ("192.0.2.1", 0)},
    {"local_addr": ("name.invalid", 0)},
    {"proto": socket.IPPROTO_TCP},
    {"proto": socket.IPPROTO_UDP},
    {"flags": socket.AI_NUMERICHOST},
    {"ssl_handshake_timeout": 1},
    {"server_hostname": "name"},
]


HOSTS: list[Any] = ["127.0.0.1", "::1", "localhost", "name.invalid", "", None, 5]
CALLS: list[tuple[Any, dict[str, Any]]] = [("localhost", way) for way in WAYS]
CALLS += [(host, way) for host in HOSTS for way in ALL_ERRORS]


@pytest.mark.parametrize(("host", "options"), CALLS, ids=str)
@pytest.mark.parametrize("served", [False, True])
def test_connecting(host: Any, options: dict[str, Any], served: bool) -> None:
    async def scenario(world: World) -> None:
        with dual_stack() as sock:
            if served:
                sock.listen()
            await connect(world, (host, sock.getsockname()[1]), **options)

    events = compare(scenario)
    assert names(events)[0] in {"connection_made", "failed"}


def test_the_second_address_is_tried() -> None:
    """localhost is ::1 and 127.0.0.1; only the second is served."""

    async def scenario(world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await connect(world, ("localhost", listener.getsockname()[1]))

    assert ("peer", "127.0.0.1", True) in compare(scenario)


def test_local_address() -> None:
    async def scenario(world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = unused_port()
            transport, _ = await world.loop.create_connection(
                lambda: Recorder(world), *listener.getsockname(), local_addr=("127.0.0.1", port)
            )
            world.record("mine", transport.get_extra_info("sockname") == ("127.0.0.1", port))
            transport.abort()
            await world.until_saw("connection_lost")
            busy = listener.getsockname()
            try:
                await world.loop.create_connection(lambda: Recorder(world), *busy, local_addr=busy)
            except OSError as error:
                world.record("busy", type(error).__name__, error.errno)

    events = compare(scenario)
    assert ("mine", True) in events
    assert ("busy", "OSError", errno.EADDRINUSE) in events


@pytest.mark.parametrize(
    "name", ["refused", "datagram", "closed", "unconnected", "object", "blocking", "with host"]
)
def test_sockets_of_ones_own(name: str) -> None:
    async def scenario(world: World) -> None:
        ours, peer = world.pair()
        sock: Any = ours
        keywords: dict[str, Any] = {}
        if name == "datagram":
            sock = socket.socket(type=socket.SOCK_DGRAM)
        elif name == "closed":
            sock.close()
        elif name == "unconnected":
            sock = socket.socket()
        elif name == "object":
            sock = object()
        elif name == "blocking":
            sock.setblocking(True)
        elif name == "with host":
            keywords = {"host": "127.0.0.1", "port": 1}
        try:
            transport, _ = await world.loop.create_connection(
                lambda: Recorder(world), sock=sock, **keywords
            )
            world.record(
                "made", sock.gettimeout(), transport.get_extra_info("peername") is not None
            )
            transport.close()
            await world.until_saw("connection_lost")
        finally:
            ours.close()
            if hasattr(sock, "close"):
                sock.close()

    compare(scenario)


@pytest.mark.parametrize(
    "arguments", [{}, {"host": None}, {"host": "127.0.0.1"}, {"port": 1}], ids=str
)
def test_missing_arguments(arguments: dict[str, Any]) -> None:
    async def scenario(world: World) -> None:
        await world.loop.create_connection(lambda: Recorder(world), **arguments)

    assert names(compare(scenario))[0] == "raised"


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError(5, "no"), asyncio.CancelledError("no")], ids=repr
)
@pytest.mark.parametrize("where", ["factory", "connection_made"])
def test_errors_while_connecting(error: BaseException, where: str) -> None:
    async def scenario(world: World) -> None:
        def fail(*args: Any) -> Any:
            raise error

        ours, peer = world.pair()
        factory = fail if where == "factory" else lambda: Recorder(world, {"connection_made": fail})
        try:
            transport, _ = await world.loop.create_connection(factory, sock=ours)
            world.transports.append(transport)
            world.record("made", transport.is_closing())
            await world.peer_writes(peer, b"hello")
            await world.until(lambda: world.received() == 5)
        except asyncio.CancelledError:
            world.record("cancelled")
        finally:
            if where == "factory":
                ours.close()

    compare(scenario)


@both_kinds
def test_cancelled_after_the_connection_was_made(kind: Any) -> None:
    async def scenario(world: World) -> None:
        ours, peer = world.pair()
        task = world.loop.create_task(world.loop.create_connection(lambda: kind(world), sock=ours))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            world.record("cancelled")
        await world.until_saw("connection_lost")
        world.record("peer", await world.peer_reads(peer))

    events = compare(scenario)
    assert ("cancelled",) in events
    assert ("peer", b"") in events


def full_listener(world: World) -> Any:
    """The address of a socket that listens and whose queue is full: connecting to it waits."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    address = listener.getsockname()
    world.sockets.append(listener)
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(address)
        world.sockets.append(client)
    return address


@pytest.mark.parametrize("options", [{}, {"happy_eyeballs_delay": 0.25}], ids=str)
def test_cancelled_while_connecting(options: dict[str, Any]) -> None:
    async def scenario(world: World) -> None:
        address = full_listener(world)
        task = world.loop.create_task(
            world.loop.create_connection(lambda: Recorder(world), *address, **options)
        )
        for _ in range(3):
            await asyncio.sleep(0.002)
        world.record("done", task.done())
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            world.record("cancelled")

    assert compare(scenario)[:2] == [("done", False), ("cancelled",)]


def test_a_timeout_while_connecting() -> None:
    async def scenario(world: World) -> None:
        address = full_listener(world)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.open_connection(*address)
        except TimeoutError:
            world.record("timeout")

    assert ("timeout",) in compare(scenario)


# --- streams


async def streams(world: World, serve: Any, **options: Any) -> Any:
    """A stream server and a connection to it."""
    done = world.loop.create_future()

    async def handle(reader: Any, writer: Any) -> None:
        try:
            await serve(reader, writer)
        except Exception as error:
            world.record("server", error)
        finally:
            writer.close()
            done.set_result(None)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), **options)
    return server, reader, writer, done


def test_streams() -> None:
    async def scenario(world: World) -> None:
        async def serve(reader: Any, writer: Any) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()

        server, reader, writer, done = await streams(world, serve)
        async with server:
            for line in (b"one\n", b"two\n", b"x" * 10000 + b"\n"):
                writer.write(line)
                await writer.drain()
                world.record("line", await reader.readline())
            writer.writelines([b"a\n", b"b", b"\n"])
            world.record("until", await reader.readuntil(b"B"))
            world.record("exactly", await reader.readexactly(1))
            world.record(
                "info", writer.get_extra_info("peername") == server.sockets[0].getsockname()
            )
            world.record("can", writer.can_write_eof(), writer.is_closing())
            writer.write_eof()
            world.record("rest", await reader.read(), reader.at_eof())
            await done
            writer.close()
            await writer.wait_closed()

    events = compare(scenario)
    assert ("line", b"ONE\n") in events
    assert ("until", b"A\nB") in events


@pytest.mark.parametrize("size", [1, 1000, 100000, 16 * 1024 * 1024])
@pytest.mark.parametrize("limit", [1024, 65536])
def test_streams_echo(size: int, limit: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)

    async def scenario(world: World) -> None:
        async def serve(reader: Any, writer: Any) -> None:
            while piece := await reader.read(5000):
                writer.write(piece)
                await writer.drain()

        server, reader, writer, done = await streams(world, serve, limit=limit)
        async with server:

            async def send() -> None:
                for start in range(0, len(data), 3001):
                    writer.write(data[start : start + 3001])
                    await writer.drain()
                writer.write_eof()

            sending = world.loop.create_task(send())
            world.record("equal", await reader.read() == data)
            await sending
            await done
            writer.close()
            await writer.wait_closed()

    assert compare(scenario) == [("equal", True)]


def test_drain_waits_until_the_peer_reads() -> None:
    async def scenario(world: World) -> None:
        go_on = asyncio.Event()

        async def serve(reader: Any, writer: Any) -> None:
            await go_on.wait()
            world.record("count", len(await reader.readexactly(8 << 20)))

        server, reader, writer, done = await streams(world, serve)
        async with server:
            writer.write(b"x" * (8 << 20))
            draining = world.loop.create_task(writer.drain())
            await world.turns()
            world.record("drained", draining.done())
            go_on.set()
            await draining
            await done
            writer.close()

    events = compare(scenario)
    assert ("drained", False) in events


@pytest.mark.parametrize("way", ["reset", "close", "eof"])
def test_streams_whose_peer_goes(way: str) -> None:
    async def scenario(world: World) -> None:
        async def serve(reader: Any, writer: Any) -> None:
            await reader.readexactly(5)
            if way == "reset":
                writer.transport.abort()
            elif way == "eof":
                writer.write_eof()
                await reader.read()

        server, reader, writer, done = await streams(world, serve)
        async with server:
            writer.write(b"hello and more that is never read"[: 5 if way == "eof" else None])
            for name, call in {
                "exactly": lambda: reader.readexactly(1),
                "line": reader.readline,
                "until": lambda: reader.readuntil(b"x"),
                "read": reader.read,
            }.items():
                try:
                    world.record(name, await call())
                except Exception as error:
                    world.record(name, error)
            writer.close()
            try:
                await writer.wait_closed()
            except OSError as error:
                world.record("closed", error)
            await done

    compare(scenario)


def test_lines_that_are_too_long() -> None:
    async def scenario(world: World) -> None:
        async def serve(reader: Any, writer: Any) -> None:
            writer.write(b"x" * 200 + b"\n" + b"short\n")

        server, reader, writer, done = await streams(world, serve, limit=100)
        async with server:
            try:
                await reader.readline()
            except ValueError as error:
                world.record("line", error)
            world.record("rest", await reader.read())
            writer.close()
            await done

    events = compare(scenario)
    assert events[0][1][0] == "ValueError"


@pytest.mark.skipif(
    BEFORE_REPAIRS, reason="asyncio's streams keep the error of a handler to themselves"
)
def test_a_stream_handler_that_raises() -> None:
    async def scenario(world: World) -> None:
        async def handle(reader: Any, writer: Any) -> None:
            raise ValueError("no")

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            if sys.version_info >= (3, 12):  # Before, the connection stays open.
                world.record("read", await reader.read())
            await world.until_saw("exception_handler")
            writer.close()

    for loop in LOOPS.values():
        events = play(loop, scenario)
        assert "exception_handler" in names(events)
