"""A little of everything that is done often, in one process: what the memory checker watches.

`python -m tests.valgrind.program FOLDER` runs it, with the certificates in the folder, and says when it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import ferrio
from ferrio import _ferrio

ROUNDS = 20


class Echo(asyncio.Protocol):
    """Sends back what it gets."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.writelines([b"", bytearray(b"!"), memoryview(b"?")])


class BufferedEcho(asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = bytearray(100)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        self.transport.write(memoryview(self.buffer)[:count])


class DatagramEcho(asyncio.DatagramProtocol):
    """The same for datagrams."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


async def tasks() -> None:
    """Tasks and futures that end in every way, and chains of them."""
    loop = asyncio.get_running_loop()

    async def wait(future: Any) -> Any:
        return await future

    async def fail() -> None:
        raise ValueError

    for _ in range(ROUNDS):
        futures = [loop.create_future() for _ in range(10)]
        batch = [asyncio.ensure_future(wait(future)) for future in futures]
        batch.append(asyncio.ensure_future(fail()))
        await asyncio.sleep(0)
        for future in futures[:5]:
            future.set_result(futures)
        futures[5].set_exception(ValueError())
        for future in futures[6:8]:
            future.cancel()
        for task in batch[8:]:
            task.cancel()
        await asyncio.gather(*batch, return_exceptions=True)
        loop.call_later(1000, print).cancel()
        loop.call_soon(int, 5)
        await loop.run_in_executor(None, loop.call_soon_threadsafe, int)
        head = loop.create_future()
        for _ in range(100):
            future = loop.create_future()
            future.set_result(head)
            head = future
        del head, future


async def streams(**ends: Any) -> None:
    """Connections of a server on TCP, with both kinds of protocol and with streams."""
    loop = asyncio.get_running_loop()
    for factory in (Echo, BufferedEcho):
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=ends.get("server"))
        address = server.sockets[0].getsockname()
        for size in (1, 100, 100_000):
            reader, writer = await asyncio.open_connection(*address, ssl=ends.get("client"))
            for _ in range(3):
                writer.write(b"x" * size)
                writer.write(b"y")
                await reader.readexactly(size)
                await writer.drain()
            writer.close()
            # The echo may still be on its way, which OpenSSL calls an error.
            with contextlib.suppress(ssl.SSLError):
                await writer.wait_closed()
        _, transport = await asyncio.open_connection(*address, ssl=ends.get("client"))
        transport.write(bytes(1 << 20))
        transport.transport.abort()
        server.close()


async def sockets() -> None:
    """The loop's socket methods."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        buffer = bytearray(1 << 16)
        for _ in range(ROUNDS):
            receiving = asyncio.ensure_future(loop.sock_recv(left, 100))
            await asyncio.sleep(0)
            await loop.sock_sendall(right, b"x" * 10)
            await receiving
            sending = asyncio.ensure_future(loop.sock_sendall(right, bytes(1 << 18)))
            for _ in range(3):
                await loop.sock_recv_into(left, buffer)
            sending.cancel()
            await asyncio.wait([sending])
            while True:
                try:
                    left.recv(1 << 20)
                except BlockingIOError:
                    break


async def datagrams() -> None:
    """A socket of UDP that answers."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, local_addr=("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        peer.connect(transport.get_extra_info("sockname"))
        for size in (0, 1, 1000, 60_000):
            peer.send(bytes(size))
            assert len(await loop.sock_recv(peer, 1 << 16)) == size
    transport.close()


async def pipes() -> None:
    """Both ends of pipes, and a child with three."""
    loop = asyncio.get_running_loop()
    for size in (1, 200_000):
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        read_end, _ = await loop.connect_read_pipe(
            lambda reader=reader: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb")
        )
        write_end, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(writing, "wb"))
        write_end.write(bytes(size))
        await reader.readexactly(size)
        write_end.close()
        assert await reader.read() == b""
        read_end.close()
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert await child.communicate(b"hello") == (b"hello", None)


async def encryption(folder: Path) -> None:
    """The streams again, encrypted, on both engines."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    client = ssl.create_default_context(cafile=folder / "authority.pem")
    before = _ferrio._tls_engine
    for engine in {before, "memory_bio"}:
        _ferrio._tls_engine = engine
        await streams(server=server, client=client)
    _ferrio._tls_engine = before


async def main(folder: Path) -> None:
    """All of it."""
    await tasks()
    await streams()
    await sockets()
    await datagrams()
    await pipes()
    await encryption(folder)
    gc.collect()


if __name__ == "__main__":
    ferrio.run(main(Path(sys.argv[1])))
    print(f"done on Python {sys.version.split()[0]}, engine {_ferrio.best_tls_engine()}")
