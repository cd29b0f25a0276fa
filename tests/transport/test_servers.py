"""Servers: how they are made, what they accept, how they end."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import select
import socket
import subprocess
import sys
import textwrap
import weakref
from typing import Any

import pytest

from .world import LOOPS, BufferedRecorder, Recorder, World, alike, compare, names, play, reset

both_kinds = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])


def echo(self: Any, data: bytes) -> None:
    self.transport.write(data)


async def talk(world: World, address: Any, family: int = socket.AF_INET) -> bytes:
    """Connect to an echo server and return what it says."""
    with socket.socket(family) as client:
        client.connect(address)
        client.setblocking(False)
        await world.peer_writes(client, b"hello")
        return await world.peer_reads(client, 5)


async def collected(client: socket.socket) -> None:
    """Wait until the client's peer is closed, by the garbage collector perhaps."""
    while not select.select([client], [], [], 0)[0]:
        await asyncio.sleep(0.001)
        gc.collect()
    assert client.recv(1) == b""


def unused_port() -> int:
    """The number of a port that nobody listens on. A moment later somebody may."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


HOSTS: dict[str, Any] = {
    "IPv4": "127.0.0.1",
    "IPv6": "::1",
    "all": None,
    "empty": "",
    "name": "localhost",
    "list": ["127.0.0.1", "::1"],
    "tuple": ("127.0.0.1", "127.0.0.2"),
    "twice": ["127.0.0.1", "127.0.0.1"],
    "set": {"127.0.0.1"},
    "no hosts": [],
}


@pytest.mark.parametrize("name", HOSTS)
def test_hosts(name: str) -> None:
    async def scenario(world: World) -> None:
        port = unused_port()
        server: Any = None
        while server is None:
            try:
                server = await world.loop.create_server(
                    lambda: Recorder(world, {"data_received": echo}), HOSTS[name], port
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                port = unused_port()
        addresses = sorted((sock.family.name, *sock.getsockname()) for sock in server.sockets)
        world.record(
            "sockets", [address[0:2] for address in addresses], all(a[2] == port for a in addresses)
        )
        world.record(
            "types", type(server.sockets).__name__, {type(sock).__name__ for sock in server.sockets}
        )
        for family, host, *_ in addresses:
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            world.record("talk", await talk(world, (host, port), socket.AddressFamily[family]))
            await world.until_saw("connection_lost", names(world.events).count("talk"))
        await world.until_saw("connection_lost", len(addresses))
        server.close()
        world.record("closed", server.sockets, server.is_serving())

    events = compare(scenario)
    assert ("talk", b"hello") in events or name == "no hosts"


def listening(**options: Any) -> Any:
    """What a call of create_server does."""

    async def scenario(world: World) -> None:
        port = options.pop("same_port", None)
        keywords = {name: value() if callable(value) else value for name, value in options.items()}
        server = await world.loop.create_server(
            lambda: Recorder(world, {"data_received": echo}), **keywords
        )
        sock = server.sockets[0]
        world.record(
            "options",
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) != 0,
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) != 0,
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0,
            sock.gettimeout(),
            sock.get_inheritable(),
            server.is_serving(),
            server.get_loop() is world.loop,
            port,
        )
        if server.is_serving():
            world.record("talk", await talk(world, sock.getsockname()))
            await world.until_saw("connection_lost")
        server.close()

    return scenario


LOCAL: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
OPTIONS: list[dict[str, Any]] = [
    LOCAL,
    LOCAL | {"reuse_address": True},
    LOCAL | {"reuse_address": False},
    LOCAL | {"reuse_port": True},
    LOCAL | {"reuse_port": False},
    LOCAL | {"backlog": 1},
    LOCAL | {"backlog": 100000},
    LOCAL | {"backlog": "many"},
    LOCAL | {"start_serving": False},
    LOCAL | {"family": socket.AF_INET},
    LOCAL | {"family": socket.AF_INET6},
    LOCAL | {"sock": 5},
    LOCAL | {"ssl": True},
    LOCAL | {"ssl_handshake_timeout": 1},
    LOCAL | {"flags": 0},
    {"host": "127.0.0.1", "port": "http-no"},
    {"host": "127.0.0.1", "port": 70000},
    {"host": "192.0.2.1", "port": 0},
    {"host": "name.invalid", "port": 0},
    {"host": 5, "port": 0},
    {},
    {"sock": None},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_options(options: dict[str, Any]) -> None:
    compare(listening(**options))


SOCKETS: dict[str, Any] = {
    "bound": lambda: _bound(),
    "listening": lambda: socket.create_server(("127.0.0.1", 0)),
    "datagram": lambda: socket.socket(type=socket.SOCK_DGRAM),
    "closed": lambda: _closed(),
    "unbound": lambda: socket.socket(),
    "no socket": lambda: object(),
}


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def _closed() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


@pytest.mark.parametrize("name", SOCKETS)
def test_socket_of_ones_own(name: str) -> None:
    events = compare(listening(sock=SOCKETS[name]))
    assert (("talk", b"hello") in events) == (name in {"bound", "listening", "unbound"})


def test_port_in_use() -> None:
    async def scenario(world: World) -> None:
        first = await world.loop.create_server(lambda: Recorder(world), "127.0.0.1", 0)
        port = first.sockets[0].getsockname()[1]
        try:
            await world.loop.create_server(lambda: Recorder(world), "127.0.0.1", port)
        except OSError as error:
            world.record(
                "refused", type(error).__name__, error.errno, str(error).replace(str(port), "PORT")
            )
        first.close()

    events = compare(scenario)
    assert events[0][:3] == ("refused", "OSError", errno.EADDRINUSE)


def test_a_port_shared_by_two_servers() -> None:
    async def scenario(world: World) -> None:
        first = await world.loop.create_server(
            lambda: Recorder(world), "127.0.0.1", 0, reuse_port=True
        )
        port = first.sockets[0].getsockname()[1]
        second = await world.loop.create_server(
            lambda: Recorder(world), "127.0.0.1", port, reuse_port=True
        )
        world.record("both", first.is_serving(), second.is_serving())
        first.close()
        second.close()

    assert ("both", True, True) in compare(scenario)


def test_starting_to_serve_later() -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(
            lambda: Recorder(world, {"data_received": echo}), "127.0.0.1", 0, start_serving=False
        )
        address = server.sockets[0].getsockname()
        world.record("serving", server.is_serving())
        world.attempt("refused", lambda: socket.create_connection(address).close())
        await server.start_serving()
        await server.start_serving()
        world.record("serving", server.is_serving())
        world.record("talk", await talk(world, address))
        await world.until_saw("connection_lost")
        server.close()

    assert ("talk", b"hello") in compare(scenario)


def test_serve_forever() -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(
            lambda: Recorder(world, {"data_received": echo}), "127.0.0.1", 0, start_serving=False
        )
        address = server.sockets[0].getsockname()
        serving = world.loop.create_task(server.serve_forever())
        await world.turns(2)
        world.record("talk", await talk(world, address))
        await world.until_saw("connection_lost")
        for coroutine in (server.serve_forever(),):
            try:
                await coroutine
            except RuntimeError as error:
                world.record("again", "already being awaited" in str(error))
        serving.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            world.record("cancelled", server.is_serving(), server.sockets)
        try:
            await server.serve_forever()
        except RuntimeError as error:
            world.record("closed", "is closed" in str(error))
        try:
            await server.start_serving()
        except Exception as error:
            world.record("start", error)
        world.attempt("refused", lambda: socket.create_connection(address).close())

    events = compare(scenario)
    assert ("again", True) in events
    assert ("cancelled", False, ()) in events


def test_serve_forever_ends_with_close() -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(lambda: Recorder(world), "127.0.0.1", 0)
        serving = world.loop.create_task(server.serve_forever())
        await world.turns(2)
        server.close()
        try:
            await serving
        except asyncio.CancelledError:
            world.record("cancelled")

    assert names(compare(scenario)) == ["cancelled"]


def test_server_as_context_manager() -> None:
    async def scenario(world: World) -> None:
        async with await world.loop.create_server(
            lambda: Recorder(world), "127.0.0.1", 0
        ) as server:
            world.record("serving", server.is_serving())
        world.record("serving", server.is_serving(), server.sockets)
        server.close()
        await server.wait_closed()

    assert names(compare(scenario)) == ["serving"] * 2


@both_kinds
@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_closing_while_connections_are_open(kind: Any, when: str) -> None:
    async def scenario(world: World) -> None:
        on = {
            "data_received": echo,
            "connection_made": lambda self: world.transports.append(self.transport),
        }
        server = await world.loop.create_server(lambda: kind(world, on), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        peer = socket.create_connection(address)
        peer.setblocking(False)
        world.sockets.append(peer)
        await world.until_saw("connection_made")
        waiting = world.loop.create_task(server.wait_closed())
        await world.turns()
        world.record("waiting", waiting.done())
        if when == "before":
            peer.close()
            await world.until_saw("connection_lost")
        server.close()
        server.close()
        await world.turns()
        world.record("waiting", waiting.done())
        world.attempt("refused", lambda: socket.create_connection(address).close())
        if when == "after":
            await world.peer_writes(peer, b"still here")
            await world.until(lambda: world.received() == 10)
            peer.close()
            await world.until_saw("connection_lost")
        if when != "never":
            await waiting
        await world.turns()
        world.record("waiting", waiting.done())
        waiting.cancel()

    events = compare(scenario)
    if when == "never" and sys.version_info >= (3, 12):
        assert [event[1] for event in events if event[0] == "waiting"] == [False] * 3


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
@both_kinds
@pytest.mark.parametrize("way", ["close_clients", "abort_clients"])
@pytest.mark.parametrize("pending", [False, True])
def test_ending_the_connections(kind: Any, way: str, pending: bool) -> None:
    async def scenario(world: World) -> None:
        protocols: list[Any] = []

        def make() -> Any:
            protocols.append(kind(world))
            return protocols[-1]

        server = await world.loop.create_server(make, "127.0.0.1", 0)
        peers = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
        for peer in peers:
            peer.setblocking(False)
            world.sockets.append(peer)
        await world.until_saw("connection_made", 3)
        server.close()
        if pending:
            for protocol in protocols:
                await world.fill(protocol.transport)
                protocol.transport.write(b"the end")
        getattr(server, way)()
        getattr(server, way)()
        for peer in peers:
            data = await world.peer_reads(peer)
            world.record("all", data.endswith(b"the end"))
        await server.wait_closed()
        world.record("closed")

    events = compare(scenario)
    assert events.count(("all", pending and way == "close_clients")) == 3
    assert names(events).count("connection_lost") == 3


@pytest.mark.skipif(sys.version_info < (3, 13), reason="servers know their connections since 3.13")
def test_an_abandoned_connection_leaves_the_server() -> None:
    """The loop is told to forget the socket's transport: the server must not wait for it."""

    async def scenario(world: World) -> None:
        server = await world.loop.create_server(lambda: None, "127.0.0.1", 0)  # type: ignore[arg-type,return-value]
        peer = socket.create_connection(server.sockets[0].getsockname())
        peer.setblocking(False)
        world.sockets.append(peer)
        await collected(peer)
        server.close()
        await server.wait_closed()
        world.record("closed")

    assert ("closed",) in compare(scenario, only_asyncio=unclosed)


class Calls:
    """Mixed into a class: records the calls of the two methods by which it learns of connections."""

    def __init_subclass__(cls, methods: tuple[str, str]) -> None:
        def recording(name: str) -> Any:
            def call(self: Any, *args: Any) -> Any:
                self.world.record(name)
                return getattr(super(cls, self), name)(*args)

            return call

        for name in methods:
            setattr(cls, name, recording(name))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="servers know their connections since 3.13")
@pytest.mark.parametrize("changed", ["nothing", "the list", "the server"])
def test_the_list_of_connections(changed: str) -> None:
    """It is asyncio's own, also for who looks into it, or puts another one in its place."""

    class List(Calls, weakref.WeakSet, methods=("add", "discard")):  # type: ignore[type-arg]
        pass

    class Server(Calls, asyncio.Server, methods=("_attach", "_detach")):
        pass

    async def scenario(world: World) -> None:
        on = {"connection_made": lambda self: world.transports.append(self.transport)}
        server: Any = await world.loop.create_server(lambda: Recorder(world, on), "127.0.0.1", 0)
        if changed == "the list":
            server._clients = List()
            server._clients.world = world
        elif changed == "the server":
            server.__class__ = Server
            server.world = world
        for number in range(4):
            world.sockets.append(socket.create_connection(server.sockets[0].getsockname()))
            await world.until_saw("connection_made", number + 1)
        first, second, third, last = world.transports
        world.record("all", set(server._clients) == set(world.transports))
        first.abort()
        await world.until_saw("connection_lost", 1)
        world.record("left", len(server._clients), first in server._clients)
        second.abort()
        third.abort()
        await world.until_saw("connection_lost", 3)
        world.record("left", len(server._clients), last in server._clients)
        server.close()
        waiting = world.loop.create_task(server.wait_closed())
        await world.turns()
        world.record("waiting", waiting.done(), len(server._clients))
        last.abort()
        await waiting
        world.record("left", len(server._clients), len(server._clients.data))

    events = compare(scenario)
    assert [event for event in events if event[0] == "left"] == [
        ("left", 3, False),
        ("left", 1, True),
        ("left", 0, 0),
    ]
    calls = {"nothing": [], "the list": ["add", "discard"], "the server": ["_attach", "_detach"]}
    assert [names(events).count(name) for name in calls[changed]] == [4] * len(calls[changed])


def unclosed(event: Any) -> bool:
    """asyncio leaves the socket of a failure to the garbage collector; ferrio closes it."""
    return event[0] == "warning" and "unclosed <socket.socket" in event[2]


@pytest.mark.parametrize("debug", [False, True])
def test_a_protocol_factory_that_returns_none(debug: bool) -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(lambda: None, "127.0.0.1", 0)  # type: ignore[arg-type, return-value]
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            await collected(client)
        server.close()

    events = compare(scenario, debug, only_asyncio=unclosed)
    assert ("exception_handler" in names(events)) == debug


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("debug", [False, True])
def test_a_protocol_factory_that_raises(error: type[BaseException], debug: bool) -> None:
    async def scenario(world: World) -> None:
        calls = iter([True, False])

        def make() -> Any:
            if next(calls):
                raise error("no")
            return Recorder(world, {"data_received": echo})

        server = await world.loop.create_server(make, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        with socket.create_connection(address) as client:
            await collected(client)
        world.record("talk", await talk(world, address))
        await world.until_saw("connection_lost")
        server.close()

    events = compare(scenario, debug, only_asyncio=unclosed)
    assert ("talk", b"hello") in events
    assert ("exception_handler" in names(events)) == debug


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_protocol_factory_that_exits(error: type[BaseException]) -> None:
    results = {}
    for name, new_loop in LOOPS.items():
        loop = new_loop()
        world = World(loop)
        calls = iter([True, False, False])

        def make() -> Any:
            if next(calls):
                raise error
            return Recorder(world, {"data_received": echo})

        server = loop.run_until_complete(loop.create_server(make, "127.0.0.1", 0))
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        with pytest.raises(error):
            loop.run_forever()
        loop.run_until_complete(asyncio.wait_for(world.until_saw("connection_made", 2), 60))
        for client in clients:
            client.close()
        loop.run_until_complete(asyncio.wait_for(world.until_saw("connection_lost", 2), 60))
        server.close()
        loop.close()
        results[name] = sorted(names(world.events))
    assert results["ferrio"] == results["asyncio"]


@both_kinds
@pytest.mark.parametrize("way", ["close", "reset"])
def test_peers_that_are_gone_before_they_are_accepted(kind: Any, way: str) -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(
            lambda: kind(world, {"data_received": echo}), "127.0.0.1", 0
        )
        address = server.sockets[0].getsockname()
        for _ in range(5):
            client = socket.create_connection(address)
            client.send(b"short visit")
            if way == "close":
                client.close()
            else:
                reset(client)
        await world.until_saw("connection_lost", 5)
        server.close()

    for name in LOOPS:
        events = play(LOOPS[name], scenario)
        assert names(events).count("connection_made") == 5
        assert "exception_handler" not in names(events)


def test_closing_the_server_while_it_accepts() -> None:
    async def scenario(world: World) -> None:
        server: Any = None

        def make() -> Any:
            world.record("accepted")
            server.close()
            return Recorder(world)

        server = await world.loop.create_server(make, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(3)]
        await world.until_saw("accepted")
        await world.turns()
        world.record("serving", server.is_serving())
        for client in clients:
            client.close()
        await server.wait_closed()

    # asyncio accepts all three before it calls the factory, ferrio calls the factory for each.
    events = play(LOOPS["ferrio"], scenario)
    assert names(events)[:2] == ["accepted", "serving"]


def test_transports_of_a_server_on_a_unix_socket() -> None:
    async def scenario(world: World) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")  # The kernel chooses an abstract name.
        server = await world.loop.create_server(
            lambda: Recorder(world, {"data_received": echo}), sock=listener
        )
        world.record("talk", await talk(world, listener.getsockname(), socket.AF_UNIX))
        await world.until_saw("connection_lost")
        server.close()

    assert ("talk", b"hello") in compare(scenario)


OUT_OF_DESCRIPTORS = """
    import asyncio, json, os, resource, socket, sys
    import ferrio

    loop = asyncio.SelectorEventLoop() if sys.argv[1] == "asyncio" else ferrio.new_event_loop()
    messages = []
    loop.set_exception_handler(lambda loop, context: messages.append(
        [context["message"], context["exception"].errno, type(context["socket"]).__name__]))

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
        def data_received(self, data):
            self.transport.write(data)

    async def main():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(server.sockets[0].getsockname())
        free = [os.dup(0)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[0] + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        while not messages:
            await asyncio.sleep(0.001)
        first = messages[0]
        os.close(free.pop())  # The server tries again after a second.
        ready = loop.create_future()
        loop.add_writer(client, lambda: ready.done() or ready.set_result(None))
        await ready
        loop.remove_writer(client)
        client.send(b"hello")
        answer = loop.create_future()
        loop.add_reader(client, lambda: answer.done() or answer.set_result(client.recv(100)))
        data = await answer
        loop.remove_reader(client)
        print(json.dumps([first, data.decode()]))
        client.close()
        server.close()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    loop.close()
"""


def test_a_server_recovers_when_there_are_descriptors_again() -> None:
    results = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(OUT_OF_DESCRIPTORS), name],
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        ).stdout
        for name in LOOPS
    ]
    assert results[0] == results[1]
    message = ["socket.accept() out of system resource", errno.EMFILE, "TransportSocket"]
    assert json.loads(results[1]) == [message, "hello"]


def test_repr_of_a_server() -> None:
    async def scenario(world: World) -> None:
        server = await world.loop.create_server(lambda: Recorder(world), "127.0.0.1", 0)
        world.record("repr", alike(repr(server)))
        server.close()
        world.record("repr", repr(server))

    assert len(compare(scenario)) == 2
