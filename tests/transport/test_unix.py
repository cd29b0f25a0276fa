"""Unix sockets: servers and connections, side by side with asyncio."""

import array
import asyncio
import gc
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ferrio
import pytest

from ..event_loop.side_by_side import both, outcome, turns, within

Loop = asyncio.AbstractEventLoop

abstract_names = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")


class Notes(asyncio.Protocol):
    """Notes what is called; an echo sends back what comes."""

    def __init__(self, seen: list[Any], echo: bool = False) -> None:
        self.seen = seen
        self.echo = echo
        self.made = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.seen.append("made")
        self.made.set_result(None)

    def data_received(self, data):
        self.seen.append(data)
        if self.echo:
            self.transport.write(data)

    def eof_received(self):
        self.seen.append("eof")

    def connection_lost(self, error):
        self.seen.append(("lost", error))
        self.lost.set_result(None)


def names(path: Path) -> dict[str, Any]:
    return {
        "text": str(path / "text"),
        "bytes": os.fsencode(path / "bytes"),
        "PathLike": path / "pathlike",
        "not as pathlib would write it": f"{path}/./dotted",
    }


async def talk(loop: Loop, address: Any, serve: Callable[..., Any]) -> list[Any]:
    """What the protocols of a server and of its client see, and what they tell about themselves."""
    serving = Notes([], echo=True)
    server = await serve(lambda: serving)
    client, reading = await loop.create_unix_connection(lambda: Notes([]), address)
    await serving.made
    told: list[Any] = []
    for transport in (client, serving.transport):
        own = transport.get_extra_info("socket")
        told += [own.family, own.type]
        told += [transport.get_extra_info("sockname"), transport.get_extra_info("peername")]
    client.write(b"hello")
    client.writelines([b"one", b"two"])
    client.write_eof()
    await serving.lost
    await reading.lost
    server.close()
    await server.wait_closed()
    for notes in (serving, reading):
        # How the bytes are cut is the system's affair.
        told.append(b"".join(part for part in notes.seen if isinstance(part, bytes)))
        told += [part for part in notes.seen if not isinstance(part, bytes)]
    return told


@pytest.mark.parametrize("kind", ["text", "bytes", "PathLike", "not as pathlib would write it"])
def test_a_path(kind, tmp_path):
    path = names(tmp_path)[kind]

    async def scenario(loop: Loop) -> list[Any]:
        seen = await talk(loop, path, lambda factory: loop.create_unix_server(factory, path))
        seen.append(os.path.exists(path))
        if os.path.exists(path):
            os.unlink(path)
        return seen

    seen = both(scenario)
    # From Python 3.13 on a server's file goes with it.
    assert seen[-1] == (sys.version_info < (3, 13))


@abstract_names
@pytest.mark.parametrize("kind", ["text", "bytes"])
def test_an_abstract_name(kind):
    name: Any = f"\0ferrio-test-{kind}-{os.getpid()}"
    if kind == "bytes":
        name = name.encode()

    async def scenario(loop: Loop) -> list[Any]:
        return await talk(loop, name, lambda factory: loop.create_unix_server(factory, name))

    assert b"helloonetwo" in both(scenario)


def test_sockets_that_are_given(tmp_path):
    async def scenario(loop: Loop) -> list[Any]:
        path = str(tmp_path / "socket")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        seen = await talk(
            loop, path, lambda factory: loop.create_unix_server(factory, sock=listener)
        )
        if os.path.exists(path):
            os.unlink(path)
        left, right = socket.socketpair()
        with right:
            transport, protocol = await loop.create_unix_connection(
                lambda: Notes(seen, echo=True), sock=left
            )
            right.setblocking(False)
            await loop.sock_sendall(right, b"pair")
            seen.append(await loop.sock_recv(right, 100))
            transport.close()
            await protocol.lost
        return seen

    both(scenario)


def test_a_stale_file_is_replaced(tmp_path):
    path = tmp_path / "socket"

    async def scenario(loop: Loop) -> list[Any]:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        seen: list[Any] = [await outcome(loop.create_unix_connection(asyncio.Protocol, str(path)))]
        server = await loop.create_unix_server(asyncio.Protocol, path)
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, str(path))
        seen.append(stat.S_ISSOCK(path.stat().st_mode))
        transport.abort()
        await turns()
        server.close()
        path.unlink(missing_ok=True)
        return seen

    assert both(scenario)[-1] is True


def test_another_file_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")

    async def scenario(loop: Loop) -> list[str]:
        text = await outcome(loop.create_unix_server(asyncio.Protocol, str(path)))
        return [text.replace(str(path), "PATH"), path.read_text()]

    [text, content] = both(scenario)
    assert text.endswith("OSError [98]: [Errno 98] Address 'PATH' is already in use")
    assert content == "content"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="cleanup_socket is of Python 3.13")
def test_a_servers_file_goes_with_it_unless_it_is_another_ones(tmp_path):
    path = tmp_path / "socket"

    async def scenario(loop: Loop) -> list[bool]:
        seen = []
        for cleanup in (True, False):
            server = await loop.create_unix_server(
                asyncio.Protocol, str(path), cleanup_socket=cleanup
            )
            server.close()
            seen.append(path.exists())
        server = await loop.create_unix_server(asyncio.Protocol, str(path))
        other = await loop.create_unix_server(asyncio.Protocol, str(path))
        server.close()
        seen.append(path.exists())
        path.unlink()
        other.close()
        return [*seen, path.exists()]

    assert both(scenario) == [False, True, True, False]


MISTAKES = {
    "nothing": lambda loop, path: loop.create_unix_connection(asyncio.Protocol),
    "no server": lambda loop, path: loop.create_unix_connection(asyncio.Protocol, path),
    "a number": lambda loop, path: loop.create_unix_connection(asyncio.Protocol, 5),
    "TCP": lambda loop, path: loop.create_unix_connection(asyncio.Protocol, sock=socket.socket()),
    "both": lambda loop, path: loop.create_unix_connection(asyncio.Protocol, path, sock=1),
    "host": lambda loop, path: loop.create_unix_connection(
        asyncio.Protocol, path, server_hostname="host"
    ),
    "tls, no host": lambda loop, path: loop.create_unix_connection(asyncio.Protocol, path, ssl=1),
    "time-out": lambda loop, path: loop.create_unix_connection(
        asyncio.Protocol, path, ssl_handshake_timeout=1
    ),
    "server: nothing": lambda loop, path: loop.create_unix_server(asyncio.Protocol),
    "server: both": lambda loop, path: loop.create_unix_server(asyncio.Protocol, path, sock=1),
    "server: TCP": lambda loop, path: loop.create_unix_server(
        asyncio.Protocol, sock=socket.socket()
    ),
    "server: ssl": lambda loop, path: loop.create_unix_server(asyncio.Protocol, path, ssl=True),
    "server: directory": lambda loop, path: loop.create_unix_server(
        asyncio.Protocol, path + "/missing"
    ),
    "server: long": lambda loop, path: loop.create_unix_server(asyncio.Protocol, "x" * 200),
    "server: NUL": lambda loop, path: loop.create_unix_server(asyncio.Protocol, "a\0b"),
}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, tmp_path):
    path = str(tmp_path / "socket")

    async def scenario(loop: Loop) -> str:
        text = await outcome(MISTAKES[mistake](loop, path))
        return text.split("<")[0]

    assert "Error" in both(scenario)


def test_streams(tmp_path):
    path = str(tmp_path / "socket")

    async def scenario(loop: Loop) -> list[Any]:
        async def shout(reader, writer) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        seen = []
        server = await asyncio.start_unix_server(shout, path)
        reader, writer = await asyncio.open_unix_connection(path)
        for line in (b"hello\n", b"x" * 50_000 + b"\n", b"bye\n"):
            writer.write(line)
            seen.append(await reader.readline())
        writer.write_eof()
        seen.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        Path(path).unlink(missing_ok=True)
        return seen

    assert both(scenario)[0] == b"HELLO\n"


def test_a_read_stops_where_descriptors_were_sent_along():
    async def scenario(loop: Loop) -> bytes:
        left, right = socket.socketpair()
        with right:
            reader, writer = await asyncio.open_unix_connection(sock=left)
            await turns()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
            for data in (b"one", b"two", b"three"):
                right.sendmsg([data], rights)
            received = await reader.readexactly(11)
            writer.close()
            await writer.wait_closed()
            return received

    assert both(scenario) == b"onetwothree"


def test_descriptors_and_memory_stay(tmp_path):
    """Ten thousand connections to one server, each with its transports."""
    rounds = 10_000
    path = str(tmp_path / "socket")

    async def connection(loop: Loop) -> None:
        transport, protocol = await loop.create_unix_connection(lambda: Notes([]), path)
        transport.write(b"hello")
        transport.write_eof()
        await protocol.lost

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: Notes([], echo=True), path)
        for _ in range(200):
            await connection(loop)
        gc.collect()
        before = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))
        for _ in range(rounds):
            await within(connection(loop))
        await turns()
        gc.collect()
        after = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))
        server.close()
        return after[0] - before[0], after[1] - before[1]

    blocks, descriptors = ferrio.run(main())
    assert descriptors == 0
    assert blocks < rounds / 100
