"""What is done many times, and must leave nothing behind. Each takes how often."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import struct
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import ferrio

# The same client and server may not meet again for a minute after a connection; more addresses make more pairs.
_HOSTS = [f"127.0.0.{number}" for number in range(1, 17)]
_BATCH = 100


class _Peer(asyncio.Protocol):
    """Holds on to its transport, which holds on to it, and to a closure over both."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.closure = lambda: (self, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


class _Buffered(asyncio.BufferedProtocol, _Peer):
    connection_made = _Peer.connection_made
    connection_lost = _Peer.connection_lost

    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(100)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(memoryview(self.buffer)[:nbytes])


class _Client(asyncio.Protocol):
    """Says something, and ends when it is answered."""

    end: Callable[[Any], None] = asyncio.Transport.close

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(b"hello")
        transport.write(bytearray(b"world"))

    def data_received(self, data: bytes) -> None:
        self.transport.get_extra_info("peername")
        self.transport.get_extra_info("socket")
        type(self).end(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


class _Aborting(_Client):
    end = asyncio.Transport.abort


async def connections(count: int) -> None:
    """Connections opened and closed in all the usual ways, a batch at a time."""
    loop = asyncio.get_running_loop()
    accepted: list[Any] = []
    kinds = itertools.cycle([_Peer, _Buffered])

    def accept() -> Any:
        accepted.append(next(kinds)())
        return accepted[-1]

    server = await loop.create_server(accept, _HOSTS, 0)
    addresses = itertools.cycle([sock.getsockname() for sock in server.sockets])
    clients = itertools.cycle([_Client, _Aborting])
    for _ in range(count // _BATCH):
        made = await asyncio.gather(
            *(loop.create_connection(next(clients), *next(addresses)) for _ in range(_BATCH))
        )
        for _, client in made:
            await client.lost
        for peer in accepted:
            await peer.lost
        accepted.clear()
    server.close()
    await server.wait_closed()


async def servers(count: int) -> None:
    """Servers that serve one connection each."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        server = await loop.create_server(_Peer, "127.0.0.1", 0)
        _, client = await loop.create_connection(_Client, *server.sockets[0].getsockname())
        await client.lost
        server.close()
        await server.wait_closed()


async def streams(count: int) -> None:
    """Stream connections."""

    async def handle(reader: Any, writer: Any) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, _HOSTS, 0)
    addresses = itertools.cycle([sock.getsockname() for sock in server.sockets])
    for _ in range(count):
        reader, writer = await asyncio.open_connection(*next(addresses)[:2])
        writer.writelines([b"one", b"\n"])
        await writer.drain()
        await reader.readline()
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _raise(*args: Any) -> Any:
    error = ValueError("no")
    error.__context__ = OSError("a context")
    raise error


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def _pair(protocol: Any) -> tuple[Any, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    return transport, theirs


def _failing(base: Any, method: str) -> Any:
    """A protocol that fails in one method, and remembers the error with its traceback and frames."""

    def fail(self: Any, *args: Any) -> Any:
        try:
            _raise()
        except ValueError as error:
            self.error = error
            if method == "connection_lost":
                self.lost.set_result(None)
            raise

    return type("Failing", (base,), {method: fail})()


async def _callback_fails(base: Any, method: str) -> None:
    protocol = _failing(base, method)
    transport, peer = await _pair(protocol)
    protocol.transport = transport
    peer.send(b"hello")
    peer.shutdown(socket.SHUT_WR)
    if method == "pause_writing":
        transport.set_write_buffer_limits(0)
        transport.write(b"x" * (1 << 20))
        await asyncio.sleep(0)
        transport.abort()
    await protocol.lost
    peer.close()


async def _reset_by_peer() -> None:
    protocol = _Peer()
    transport, peer = await _pair(protocol)
    transport.write(b"x" * (1 << 20))
    peer.close()
    transport.write(b"x" * (1 << 20))
    for _ in range(3):
        transport.write(b"late")
    await protocol.lost


async def _abort_with_pending() -> None:
    protocol = _Peer()
    transport, peer = await _pair(protocol)
    transport.writelines([b"x" * (1 << 20), bytearray(1 << 20), memoryview(b"z" * 1000)])
    for _ in range(10):
        transport.write(b"more")
    transport.abort()
    await protocol.lost
    peer.close()


async def _wrong_calls() -> None:
    protocol = _Peer()
    transport, peer = await _pair(protocol)
    for call in (
        lambda: transport.write("text"),
        lambda: transport.writelines(["text"]),
        lambda: transport.writelines(_raise() for _ in range(1)),
        lambda: transport.set_write_buffer_limits(1, 2),
        lambda: transport.set_write_buffer_limits(1 << 100, 1 << 99),
        lambda: transport.get_extra_info([]),
        lambda: transport.close(1),
        lambda: asyncio.get_running_loop().add_reader(transport.get_extra_info("socket"), print),
    ):
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            call()
    transport.write(memoryview(b"abcdef")[::2])  # Ends the connection.
    await protocol.lost
    peer.close()


async def _refused() -> None:
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().create_connection(_Peer, "127.0.0.1", 1)


async def _cancelled() -> None:
    protocol = _Peer()
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    task = loop.create_task(loop.create_connection(lambda: protocol, sock=ours))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await protocol.lost
    theirs.close()


async def _factory_fails() -> None:
    ours, theirs = socket.socketpair()
    with contextlib.suppress(ValueError):
        await asyncio.get_running_loop().create_connection(_raise, sock=ours)
    ours.close()
    theirs.close()


async def _server_factory_fails() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_raise, "127.0.0.1", 0)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.setblocking(False)
    done = loop.create_future()
    loop.add_reader(client, lambda: done.done() or done.set_result(None))
    await done
    loop.remove_reader(client)
    client.close()
    server.close()
    await server.wait_closed()


async def _protocol_switched() -> None:
    protocol, second = _Peer(), _Buffered()
    transport, peer = await _pair(protocol)
    transport.set_protocol(second)
    second.transport = transport
    peer.send(b"hello")
    peer.shutdown(socket.SHUT_WR)
    await second.lost
    peer.close()


_FAILURES: list[Callable[[], Awaitable[None]]] = [
    _reset_by_peer,
    _abort_with_pending,
    _wrong_calls,
    _refused,
    _cancelled,
    _factory_fails,
    _server_factory_fails,
    _protocol_switched,
    *(
        lambda base=base, method=method: _callback_fails(base, method)  # type: ignore[misc]
        for base, method in [
            (_Peer, "data_received"),
            (_Peer, "eof_received"),
            (_Peer, "pause_writing"),
            (_Peer, "connection_lost"),
            (_Buffered, "get_buffer"),
            (_Buffered, "buffer_updated"),
        ]
    ),
]


async def failures(count: int) -> None:
    """Each way to fail, over and over."""
    with _quiet():
        for _ in range(count):
            for fail in _FAILURES:
                await fail()


def loops(count: int) -> None:
    """Loops that are closed with everything still open and scheduled, and forgotten in a cycle."""

    async def leave_open(loop: Any) -> None:
        protocol = _Peer()
        transport, peer = await _pair(protocol)
        transport.write(b"x" * (1 << 16))
        transport.write(b"y")
        server = await loop.create_server(_Peer, "127.0.0.1", 0)
        loop.kept = [transport, protocol, server, peer]
        loop.call_later(1000, print, loop)
        loop.call_soon(print, loop)
        loop.add_reader(peer, print, loop)
        loop.create_future().add_done_callback(lambda future: loop)
        loop.stop()

    with _quiet():
        for number in range(count):
            loop = ferrio.new_event_loop()
            loop.run_until_complete(leave_open(loop))
            for sock in loop.kept[2].sockets:
                sock._sock.close()
            loop.kept[3].close()
            if number % 2:
                loop.close()
            del loop


async def handles(count: int) -> None:
    """Callbacks, run and cancelled."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 1000):
        for number in range(1000):
            handle = loop.call_soon(int, "1") if number % 2 else loop.call_soon(dict, [], [])
            if number % 3 == 0:
                handle.cancel()
        loop.call_soon(_raise)
        await asyncio.sleep(0)


async def jobs(count: int) -> None:
    """Functions in threads of the default executor, which return, raise or are cancelled."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 100):
        calls = [
            loop.run_in_executor(None, _raise if number % 4 == 0 else dict) for number in range(100)
        ]
        for call in calls[1::4]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def timers(count: int) -> None:
    """Timers, run and cancelled."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 1000):
        for number in range(1000):
            timer = loop.call_later(0 if number % 2 else 1000, int, "1")
            if number % 2 == 0:
                timer.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def tasks(count: int) -> None:
    """Tasks and futures: with results, errors, cancelled, awaiting one another, in cycles."""
    loop = asyncio.get_running_loop()

    async def nothing() -> None:
        pass

    async def wait_for(future: Any) -> Any:
        return await future

    async def fail() -> None:
        _raise()

    for _ in range(count // 1000):
        futures = [loop.create_future() for _ in range(200)]
        batch = [loop.create_task(nothing()) for _ in range(400)]
        batch += [loop.create_task(wait_for(future)) for future in futures]
        batch += [loop.create_task(fail()) for _ in range(100)]
        batch += [loop.create_task(wait_for(loop.create_future())) for _ in range(100)]
        for future in futures:
            future.add_done_callback(lambda _, future=future: future)
        await asyncio.sleep(0)
        for future in futures:
            future.set_result(future)
        for task in batch[-100:]:
            task.cancel()
        await asyncio.gather(*batch, return_exceptions=True)


async def combinators(count: int) -> None:
    """Each combinator, with what it waits for returning, raising, cancelled and late."""

    async def nothing() -> None:
        await ferrio.sleep(0)

    async def fail() -> None:
        _raise()

    async def group(*awaitables: Any) -> None:
        async with ferrio.TaskGroup() as group:
            for awaitable in awaitables:
                group.create_task(awaitable)

    async def within(delay: float, awaitable: Any) -> None:
        async with ferrio.timeout(delay):
            await awaitable

    async def each() -> None:
        loop = asyncio.get_running_loop()
        forever = loop.create_future()
        ended = [
            ferrio.gather(nothing(), nothing(), fail()),
            ferrio.gather(nothing(), fail(), return_exceptions=True),
            group(nothing(), nothing()),
            group(nothing(), fail(), ferrio.sleep(1000)),
            ferrio.wait_for(nothing(), 1000),
            ferrio.wait_for(ferrio.sleep(1000), 0.0001),
            within(1000, fail()),
            within(0, ferrio.sleep(1000)),
            within(0.0001, ferrio.sleep(1000)),
            ferrio.shield(nothing()),
            ferrio.shield(fail()),
            ferrio.wait([ferrio.create_task(nothing()), forever], timeout=0.0001),
            ferrio.wait([ferrio.create_task(nothing()), forever], return_when="FIRST_COMPLETED"),
        ]
        await asyncio.gather(*ended, return_exceptions=True)
        cancelled = [
            ferrio.ensure_future(awaitable)
            for awaitable in (
                ferrio.sleep(1000),
                ferrio.gather(ferrio.sleep(1000), nothing()),
                group(ferrio.sleep(1000), nothing()),
                ferrio.wait_for(forever, 1000),
                ferrio.wait([loop.create_future()], timeout=1000),
                ferrio.shield(nothing()),
                within(1000, ferrio.sleep(1000)),
            )
        ]
        await ferrio.sleep(0)
        for future in cancelled:
            future.cancel("message")
        await asyncio.gather(*cancelled, return_exceptions=True)

    with _quiet():
        for _ in range(count):
            await each()


async def primitives(count: int) -> None:
    """Every primitive: waited at, woken, cancelled, shut down, with tasks that wait for it still."""

    async def change(condition: ferrio.Condition) -> None:
        async with condition:
            condition.notify()
            await condition.wait()

    for _ in range(count):
        lock, event, semaphore = ferrio.Lock(), ferrio.Event(), ferrio.BoundedSemaphore(0)
        condition, barrier = ferrio.Condition(), ferrio.Barrier(4)
        queues: list[ferrio.Queue[Any]] = [
            ferrio.Queue(1),
            ferrio.LifoQueue(1),
            ferrio.PriorityQueue(1),
        ]
        await lock.acquire()
        waits: list[Awaitable[object]] = [lock.acquire(), event.wait(), semaphore.acquire()]
        waits += [change(condition), change(condition), barrier.wait(), barrier.wait()]
        for queue in queues:
            waits += [queue.put(1), queue.put(2), queue.join(), queue.get()]
        batch = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(0)
        lock.release()
        event.set()
        for task in batch[::3]:
            task.cancel()
        for queue in queues:
            queue.shutdown(immediate=True)
            queue.attribute = queue, queue._getters, queue._queue  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        await barrier.abort()
        for task in batch:
            task.cancel()
        await asyncio.wait(batch)


async def unix(count: int) -> None:
    """Connections of a server on a Unix socket."""
    loop = asyncio.get_running_loop()
    accepted: list[Any] = []

    def accept() -> Any:
        accepted.append(_Peer())
        return accepted[-1]

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        server = await loop.create_unix_server(accept, path)
        for _ in range(count):
            _, client = await loop.create_unix_connection(_Client, path)
            await client.lost
            await accepted.pop().lost
        server.close()
        await server.wait_closed()


async def pipes(count: int) -> None:
    """Both ends of pipes, closed in turn by the one and the other."""
    loop = asyncio.get_running_loop()
    for number in range(count):
        reading, writing = os.pipe()
        reader, writer = _Peer(), _Peer()
        read_end, _ = await loop.connect_read_pipe(
            lambda it=reader: it, os.fdopen(reading, "rb", 0)
        )
        write_end, _ = await loop.connect_write_pipe(
            lambda it=writer: it, os.fdopen(writing, "wb", 0)
        )
        write_end.write(b"hello")
        (write_end if number % 2 else read_end).close()
        await reader.lost
        await writer.lost


async def sockets(count: int) -> None:
    """The loop's socket methods, each pair of sockets new."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await asyncio.sleep(0)
            await loop.sock_sendall(right, b"hello")
            await receiving
            cancelled = loop.create_task(loop.sock_recv(left, 100))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
