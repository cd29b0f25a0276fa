"""What ferrio is put to work with while it is profiled: `python tools/training.py`.

A little of everything that servers, clients and pipelines do, each for a moment: what is never done here is
compiled for size. It is no benchmark, and shares nothing with them.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ferrio
import trustme

MOMENT = 0.15
"""Seconds that each scenario takes at least."""
Scenario = Callable[[Any], Awaitable[object]]


async def nothing() -> None:
    """Returns at once."""


async def fail() -> None:
    """Raises."""
    raise ValueError


async def tasks(names: Any) -> None:
    """Tasks, made and awaited in every way."""
    for _ in range(50):
        await names.create_task(nothing())
        await names.sleep(0)
        await names.wait_for(names.sleep(0), 10)
        async with names.timeout(10):
            await names.sleep(0)
    await names.gather(*[nothing() for _ in range(300)])
    await names.gather(nothing(), fail(), return_exceptions=True)
    await names.gather(*[names.sleep(number * 7 % 10 / 10_000) for number in range(300)])
    async with names.TaskGroup() as group:
        for _ in range(300):
            group.create_task(nothing())
    await names.wait([names.create_task(names.sleep(0)) for _ in range(20)])
    for ended in names.as_completed([names.sleep(0) for _ in range(5)]):
        await ended
    await names.shield(names.sleep(0))
    waiting = names.create_task(names.sleep(10))
    await names.sleep(0)
    waiting.cancel()
    with contextlib.suppress(names.CancelledError):
        await waiting


async def primitives(names: Any) -> None:
    """Queues and locks that hand over from one task to the next."""
    for size in (1, 10, 1_000):
        queue = names.Queue(size)

        async def produce(queue: Any = queue) -> None:
            for item in range(100):
                await queue.put(item)
            await queue.put(None)

        producing = names.create_task(produce())
        while await queue.get() is not None:
            queue.task_done()
        await producing
    lock, semaphore, event, condition = (
        *(names.Lock(), names.Semaphore(3)),
        *(names.Event(), names.Condition()),
    )

    async def work() -> None:
        async with lock:
            await names.sleep(0)
        async with semaphore:
            await names.sleep(0)
        async with condition:
            condition.notify_all()
        await event.wait()

    working = [names.create_task(work()) for _ in range(30)]
    await names.sleep(0)
    event.set()
    await names.gather(*working)


async def callbacks(_: Any) -> None:
    """Callbacks, futures, timers, and what other threads hand over."""
    loop = asyncio.get_running_loop()
    for _ in range(50):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        future.add_done_callback(lambda _: None)
        await future
        loop.call_later(1, print).cancel()
        loop.call_at(loop.time(), int)
    for _ in range(20):
        await loop.run_in_executor(None, int)
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    done = loop.create_future()

    def hand_over() -> None:
        for _ in range(500):
            loop.call_soon_threadsafe(int)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=hand_over)
    thread.start()
    await done
    thread.join()


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = bytearray(1 << 16)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.buffer[:nbytes])


class Asking(asyncio.Protocol):
    """A client that sends its next message when the last has come back, so many times."""

    def __init__(self, message: bytes, count: int, done: Any) -> None:
        self.message, self.count, self.done, self.missing = message, count, done, 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.missing = len(self.message)
        half = self.missing // 2
        self.transport.writelines([self.message[:half], self.message[half:]])

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing == 0:
            self.count -= 1
            if self.count:
                self.ask()
            else:
                self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        # What is not learnt here is compiled as what never happens: a failure must not pass for a success.
        if self.count:
            self.done.set_exception(error or ConnectionError(f"{self.count} echoes are missing"))
        else:
            self.done.set_result(None)


async def ask(address: Any, size: int, count: int, **options: Any) -> None:
    """A connection of such a client, from its beginning to its end."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def make() -> Asking:
        return Asking(bytes(size), count, done)

    if isinstance(address, str):
        await loop.create_unix_connection(make, address, **options)
    else:
        await loop.create_connection(make, *address, **options)
    await done


async def serve(names: Any, path: str | None, **ends: Any) -> None:
    """Servers of both kinds of protocol, and of streams, with several clients each."""
    loop = asyncio.get_running_loop()

    async def converse(reader: Any, writer: Any) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def lines(reader: Any, writer: Any) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    at: tuple[Any, ...] = (path,) if path else ("127.0.0.1", 0)
    create = loop.create_unix_server if path else loop.create_server
    start = names.start_unix_server if path else names.start_server
    server_end, client_end = ends.get("server"), {"ssl": ends["client"]} if ends else {}
    if ends and path:
        client_end["server_hostname"] = "127.0.0.1"
    for begin in (
        lambda: create(Echo, *at, ssl=server_end),
        lambda: create(BufferedEcho, *at, ssl=server_end),
        lambda: start(converse, *at, ssl=server_end),
    ):
        server = await begin()
        address = path or server.sockets[0].getsockname()
        for size, count in ((1_000, 100), (20, 100), (100_000, 5), (10, 1)):
            await asyncio.gather(*[ask(address, size, count, **client_end) for _ in range(5)])
        server.close()
    server = await start(lines, *at, ssl=server_end)
    opening = names.open_unix_connection if path else names.open_connection
    reader, writer = await opening(
        *((path,) if path else server.sockets[0].getsockname()), **client_end
    )
    for _ in range(100):
        writer.write(b"a line\n")
        await writer.drain()
        await reader.readline()
        writer.write(b"another\n")
        await reader.readexactly(8)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    server.close()


async def tcp(names: Any) -> None:
    """The servers on TCP."""
    await serve(names, None)


async def unix(names: Any) -> None:
    """The servers on a Unix socket."""
    with tempfile.TemporaryDirectory() as directory:
        await serve(names, str(Path(directory, "socket")))


async def tls(names: Any) -> None:
    """The servers, encrypted."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    await serve(names, None, server=server, client=client)


async def sockets(_: Any) -> None:
    """The loop's socket methods, one task at each end."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        async def echo() -> None:
            connection, _ = await loop.sock_accept(listener)
            with connection:
                connection.setblocking(False)
                while data := await loop.sock_recv(connection, 1 << 16):
                    await loop.sock_sendall(connection, data)

        for _ in range(5):
            echoing = asyncio.ensure_future(echo())
            with socket.socket() as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, listener.getsockname())
                for _ in range(50):
                    await loop.sock_sendall(peer, bytes(1_000))
                    await loop.sock_recv_into(peer, bytearray(1_000))
            await echoing


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends datagrams back to where they came from."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


class DatagramAsking(asyncio.DatagramProtocol):
    """Sends the next when the last has come back, so many times."""

    def __init__(self, done: Any) -> None:
        self.count, self.done = 200, done

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.sendto(bytes(200))

    def datagram_received(self, data: bytes, _: Any) -> None:
        self.count -= 1
        if self.count:
            self.transport.sendto(data)
        elif not self.done.done():
            self.done.set_result(None)


async def datagrams(_: Any) -> None:
    """Datagrams to and fro."""
    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
    done = loop.create_future()
    client, _ = await loop.create_datagram_endpoint(
        lambda: DatagramAsking(done), remote_addr=server.get_extra_info("sockname")
    )
    await done
    client.close()
    server.close()


async def pipes(names: Any) -> None:
    """A child with three pipes, and a pipe to oneself."""
    child = await names.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    await child.communicate(bytes(1_000))
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    reader = names.StreamReader()
    read_end, _ = await loop.connect_read_pipe(
        lambda: names.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
    )
    write_end, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(writing, "wb"))
    for _ in range(50):
        write_end.write(bytes(1_000))
        await reader.readexactly(1_000)
    write_end.close()
    read_end.close()


SCENARIOS: tuple[Scenario, ...] = (
    *(tasks, primitives, callbacks),
    *(tcp, unix, tls, sockets, datagrams, pipes),
)


async def train() -> None:
    """Each scenario for a moment, with ferrio's names and then with asyncio's own."""
    for names in (ferrio, asyncio):
        for scenario in SCENARIOS:
            end = time.monotonic() + MOMENT
            while time.monotonic() < end:
                await scenario(names)


if __name__ == "__main__":
    ferrio.run(train())
    print(f"trained {ferrio.__file__}")
