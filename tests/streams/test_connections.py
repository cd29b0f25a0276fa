"""Bytes through whole connections: TCP, Unix, TLS with both engines, pipes."""

import asyncio
import hashlib
import random
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import ferrio
import pytest
from ferrio import _ferrio

from tests.streams.support import WAYS, connected, pipe_streams

Run = Callable[[Any], Any]
Contexts = dict[str, ssl.SSLContext]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the two are connected."""
    name: str = request.param
    if name not in {"tcp", "unix"}:
        if name == "openssl" and _ferrio.best_tls_engine() != "openssl":
            pytest.skip("this interpreter has no shared libssl")
        monkeypatch.setattr(_ferrio, "_tls_engine", name)
    return name


async def echo(reader: Any, writer: Any) -> None:
    """Send everything back."""
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_every_way_of_reading(run: Run, way: str, contexts: Contexts, tmp_path: Path) -> None:
    async def main() -> None:
        async with connected(way, echo, contexts, tmp_path) as (reader, writer):
            writer.write(b"line\nuntil;exactly")
            assert await reader.readline() == b"line\n"
            assert await reader.readuntil(b";") == b"until;"
            assert await reader.readexactly(7) == b"exactly"
            writer.writelines([b"a|", b"b;c"])
            assert await reader.readuntil((b";", b"|")) == b"a|"
            assert await reader.readuntil((b";", b"|")) == b"b;"
            assert await reader.read(10) == b"c"
            writer.write(b"first\nsecond\nrest")
            assert await reader.readline() == b"first\n"
            if writer.can_write_eof():
                writer.write_eof()
                assert [line async for line in reader] == [b"second\n", b"rest"]
                assert reader.at_eof()
                assert await reader.read() == b""

    run(main())


def test_much_in_both_directions(run: Run, way: str, contexts: Contexts, tmp_path: Path) -> None:
    chance = random.Random(7)
    sent = chance.randbytes(5_000_000)

    async def main() -> None:
        async with connected(way, echo, contexts, tmp_path) as (reader, writer):

            async def send() -> None:
                left = memoryview(sent)
                while left:
                    count = chance.choice([1, 1000, 100_000, 1_000_000])
                    writer.write(left[:count])
                    await writer.drain()
                    left = left[count:]

            sending = asyncio.ensure_future(send())
            digest, count = hashlib.sha256(), 0
            while count < len(sent):
                piece = chance.choice([1, 100, 70_000, 500_000])
                if chance.random() < 0.5:
                    data = await reader.read(piece)
                else:
                    data = await reader.readexactly(min(piece, len(sent) - count))
                count += len(data)
                digest.update(data)
            await sending
            assert digest.digest() == hashlib.sha256(sent).digest()

    run(main())


def test_a_byte_makes_no_detour(run: Run, way: str, contexts: Contexts, tmp_path: Path) -> None:
    """The transport fills the reader's buffer itself, and calls no method that Python code could see."""

    async def main() -> None:
        async with connected(way, echo, contexts, tmp_path) as (reader, writer):
            with (
                mock.patch.object(ferrio.StreamReaderProtocol, "data_received") as received,
                mock.patch.object(ferrio.StreamReader, "feed_data") as fed,
            ):
                for length in 5, 100_000:
                    writer.write(b"x" * length)
                    assert await reader.readexactly(length) == b"x" * length
            assert not received.called
            assert not fed.called

    run(main())


@pytest.mark.parametrize("overridden", ["reader", "protocol"])
def test_overridden_methods_are_called(
    run: Run, way: str, contexts: Contexts, tmp_path: Path, overridden: str
) -> None:
    calls: list[bytes] = []

    class Reader(ferrio.StreamReader):
        def feed_data(self, data: Any) -> None:
            calls.append(bytes(data))
            super().feed_data(data)

    class Protocol(ferrio.StreamReaderProtocol):
        def data_received(self, data: bytes) -> None:
            calls.append(data)
            super().data_received(data)

    async def main() -> None:
        async with connected(way, echo, contexts, tmp_path) as (_, writer):
            transport = writer.transport
            make_reader = Reader if overridden == "reader" else ferrio.StreamReader
            make_protocol = Protocol if overridden == "protocol" else ferrio.StreamReaderProtocol
            reader = make_reader()
            protocol = make_protocol(reader)
            protocol.connection_made(transport)
            transport.set_protocol(protocol)
            writer._protocol = protocol  # type: ignore[attr-defined]
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert b"".join(calls) == b"hello"

    run(main())


def test_the_limit_pauses_the_transport(
    run: Run, way: str, contexts: Contexts, tmp_path: Path
) -> None:
    async def main() -> None:
        async with connected(way, echo, contexts, tmp_path, limit=1000) as (reader, writer):
            transport: Any = writer.transport
            writer.write(b"x" * 2001)
            while len(await reader.readexactly(1)) and not reader._paused:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
                writer.write(b"x")
            assert not transport.is_reading()
            # One byte above the limit it stays so.
            length = len(reader._buffer)  # type: ignore[attr-defined]
            await reader.readexactly(length - 1001)
            assert not transport.is_reading()
            await reader.readexactly(1)
            assert transport.is_reading()

    run(main())


def test_pipes(run: Run) -> None:
    async def main() -> None:
        reader, writer = await pipe_streams(limit=1000)
        with mock.patch.object(ferrio.StreamReaderProtocol, "data_received") as received:
            writer.write(b"line\n" + b"x" * 1_000_000)
            assert await reader.readline() == b"line\n"
            assert await reader.readexactly(1_000_000) == b"x" * 1_000_000
            await writer.drain()
            writer.write(b"rest")
            writer.close()
            assert await reader.read() == b"rest"
        assert not received.called
        await writer.wait_closed()

    run(main())


@pytest.mark.parametrize("mixed", [(asyncio, ferrio), (ferrio, asyncio)])
def test_asyncios_classes_and_ferrios_work_together(
    run: Run, mixed: tuple[ModuleType, ModuleType]
) -> None:
    """On ferrio's transports: one's reader with the other's protocol and writer."""
    first, second = mixed

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await first.start_server(echo, "127.0.0.1", 0)
        reader = first.StreamReader(limit=10_000)
        protocol = second.StreamReaderProtocol(reader)
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(lambda: protocol, *address)
        writer = first.StreamWriter(transport, protocol, reader, loop)
        await exchange(reader, writer)
        server.close()
        await server.wait_closed()

    run(main())


def test_on_asyncios_loop() -> None:
    async def main() -> None:
        server = await ferrio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(
            *server.sockets[0].getsockname(), limit=10_000
        )
        await exchange(reader, writer)
        server.close()
        await server.wait_closed()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


async def exchange(reader: Any, writer: Any) -> None:
    """Lines, much, and the end."""
    writer.write(b"line\n")
    await writer.drain()
    assert await reader.readline() == b"line\n"
    sending = asyncio.ensure_future(send_much(writer))
    assert await reader.readexactly(1_000_000) == b"x" * 1_000_000
    await sending
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def send_much(writer: Any) -> None:
    """More than fits, and the end."""
    for _ in range(10):
        writer.write(b"x" * 100_000)
        await writer.drain()
    writer.write_eof()


def test_start_tls(run: Run, contexts: Contexts) -> None:
    async def upgrading(reader: Any, writer: Any) -> None:
        assert await reader.readline() == b"upgrade\n"
        writer.write(b"go\n")
        await writer.start_tls(contexts["server"])
        await echo(reader, writer)

    async def main() -> None:
        server = await ferrio.start_server(upgrading, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"upgrade\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(contexts["client"], server_hostname="127.0.0.1")
        assert writer.get_extra_info("ssl_object") is not None
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        # Pauses concern the encrypted connection from now on.
        assert reader._transport is writer.transport  # type: ignore[attr-defined]
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_an_exception_of_the_callback_is_reported(run: Run) -> None:
    contexts: list[dict[str, Any]] = []

    async def failing(reader: Any, writer: Any) -> None:
        await reader.readline()
        raise ZeroDivisionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: contexts.append(context))
        server = await ferrio.start_server(failing, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"\n")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())
    (context,) = contexts
    assert context["message"] == "Unhandled exception in client_connected_cb"
    assert isinstance(context["exception"], ZeroDivisionError)
    assert isinstance(context["transport"], ferrio._ferrio.StreamTransport)


def test_drain_waits_while_the_transport_is_full(run: Run) -> None:
    async def main() -> None:
        silent = asyncio.Event()

        async def late(reader: Any, writer: Any) -> None:
            await silent.wait()
            await echo(reader, writer)

        server = await ferrio.start_server(late, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * 20_000_000)
        drains = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        drains[0].cancel()
        await asyncio.sleep(0)
        assert [task.done() for task in drains[1:]] == [False, False]
        silent.set()
        left = 20_000_000
        while left:
            left -= len(await reader.read(2**20))
        await asyncio.gather(*drains[1:])
        assert drains[0].cancelled()
        assert not writer._protocol._drain_waiters  # type: ignore[attr-defined]
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionResetError, match=r"^Connection lost$"):
            await writer.drain()
        server.close()
        await server.wait_closed()

    run(main())


def test_the_peers_reset_ends_all_waits(run: Run) -> None:
    async def main() -> None:
        async def resetting(reader: Any, writer: Any) -> None:
            await reader.readline()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

        server = await ferrio.start_server(resetting, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"\n")
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())
