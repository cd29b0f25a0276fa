"""Much at once: blocks that are read in parts, and writes that wait for the turn's end."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import ferrio
import pytest

Run = Callable[[Any], Any]

HIGH_WATER = 64 * 1024
GATHERED = bytes(3 * HIGH_WATER)
"""Above the high-water mark, and not so much that it is sent before the turn's end."""


@contextlib.asynccontextmanager
async def streams() -> AsyncIterator[tuple[Any, Any, socket.socket]]:
    """A reader, a writer, and the socket at their other end; between the two there is room for little."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.setblocking(False)
    with far:
        reader, writer = await ferrio.open_connection(sock=near)
        try:
            yield reader, writer, far
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def fill(writer: Any) -> None:
    """Writes, as what the turn sends at once, something that the socket takes whole."""
    writer.write(b"first")
    assert writer.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("looked_at", [False, True])
def test_blocks_are_read_in_parts(run: Run, looked_at: bool) -> None:
    data = random.Random(1).randbytes(1_000_000)

    async def main() -> None:
        async with streams() as (reader, _, far):
            sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(far, data))
            parts = [await reader.readexactly(100_000)]
            for size in (2**20, 1, 100, 2**20, 7, 2**16):
                parts.append(await reader.read(size))
            if looked_at:
                buffer = bytes(reader._buffer)
                at = len(b"".join(parts))
                assert buffer == data[at : at + len(buffer)]
            parts.append(await reader.readexactly(65_537))
            at = len(b"".join(parts))
            parts.append(await reader.readuntil(data[at + 30_000 : at + 30_020]))
            assert len(parts[-1]) == 30_020
            parts.append(await reader.readexactly(200_000))
            while sum(map(len, parts)) < len(data):
                parts.append(await reader.read(2**20))
            await sending
            assert b"".join(parts) == data
            assert all(type(part) is bytes for part in parts)

    run(main())


def test_what_was_received_stays_as_it_is(run: Run) -> None:
    data = random.Random(2).randbytes(1_000_000)

    class Keep(asyncio.Protocol):
        def __init__(self) -> None:
            self.parts: list[bytes] = []
            self.all = asyncio.get_running_loop().create_future()

        def data_received(self, part: bytes) -> None:
            self.parts.append(part)
            if sum(map(len, self.parts)) == len(data):
                self.all.set_result(None)

    async def main() -> None:
        near, far = socket.socketpair()
        far.setblocking(False)
        with far:
            loop = asyncio.get_running_loop()
            transport, keep = await loop.create_connection(Keep, sock=near)
            await loop.sock_sendall(far, data)
            await keep.all
            assert b"".join(keep.parts) == data
            transport.abort()

    run(main())


def test_drain_waits_for_what_the_turn_gathered(run: Run) -> None:
    async def main() -> None:
        async with streams() as (_, writer, _far):
            fill(writer)
            writer.write(GATHERED)
            drain = writer.drain()
            with contextlib.closing(drain):
                drain.send(None)  # It would raise StopIteration if it didn't wait.
            assert writer.transport.get_write_buffer_size() > HIGH_WATER

    run(main())


def test_the_turns_end_pauses_the_protocol(run: Run) -> None:
    async def main() -> None:
        async with streams() as (_, writer, _far):
            fill(writer)
            writer.write(GATHERED)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert writer._protocol._paused

    run(main())


@pytest.mark.parametrize("look", ["get_write_buffer_size", "_protocol_paused", "set_protocol"])
def test_who_looks_sees_the_pause(run: Run, look: str) -> None:
    """As asyncio, whose `write` pauses the protocol before it returns."""

    class Other(asyncio.Protocol):
        def pause_writing(self) -> None:
            raise AssertionError("it was the old protocol that wrote")

    async def main() -> None:
        async with streams() as (_, writer, _far):
            transport, protocol = writer.transport, writer._protocol
            fill(writer)
            writer.write(GATHERED)
            if look == "get_write_buffer_size":
                assert transport.get_write_buffer_size() > HIGH_WATER
            elif look == "_protocol_paused":
                assert transport._protocol_paused
            else:
                transport.set_protocol(Other())
                transport.set_protocol(protocol)
            assert protocol._paused

    run(main())


def test_an_echo_in_pieces_comes_back_whole(run: Run) -> None:
    data = random.Random(3).randbytes(3_000_000)

    async def echo(reader: Any, writer: Any) -> None:
        while part := await reader.read(50_000):
            writer.write(part)
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await ferrio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(*server.sockets[0].getsockname())
        reading = asyncio.create_task(reader.readexactly(len(data)))
        for start in range(0, len(data), 300_000):
            writer.write(data[start : start + 300_000])
            await writer.drain()
        assert await reading == data
        writer.close()
        await writer.wait_closed()
        server.close()

    run(main())
