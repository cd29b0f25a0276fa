"""`sock_sendfile` and `sendfile`, side by side with asyncio."""

import asyncio
import gc
import io
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ferrio
import pytest

from ..event_loop.side_by_side import both, outcome, turns, within

Loop = asyncio.AbstractEventLoop
CONTENT = bytes(range(256)) * 20_000  # More than the buffers of a socket hold.


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


async def receive(loop: Loop, sock: socket.socket) -> bytes:
    """All that comes, to the end."""
    sock.setblocking(False)
    received = bytearray()
    while data := await loop.sock_recv(sock, 100_000):
        received += data
    return bytes(received)


async def by_socket(loop: Loop, send: Callable[[socket.socket], Awaitable[Any]]) -> tuple:
    """What came of sending through a socket, and what the peer received."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        receiving = loop.create_task(receive(loop, right))
        try:
            seen = await outcome(send(left))
        finally:
            left.close()
        return seen, await receiving


async def by_transport(
    loop: Loop, send: Callable[[asyncio.Transport], Awaitable[Any]]
) -> tuple[str, bytes]:
    """What came of sending through a transport, and what the peer received."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
        peer, _ = listener.accept()
        with peer:
            receiving = loop.create_task(receive(loop, peer))
            try:
                seen = await outcome(send(transport))
            finally:
                transport.close()
            return seen, await receiving


PARTS = [(0, None), (1000, None), (0, 5000), (1000, 4_000_000), (len(CONTENT), None), (0, 1 << 40)]


@pytest.mark.parametrize(("offset", "count"), PARTS)
@pytest.mark.parametrize("fallback", [True, False], ids=["fallback", "native"])
@pytest.mark.parametrize("way", ["socket", "transport"])
def test_a_part_of_a_file(way, fallback, offset, count, path):
    positions = []

    async def scenario(loop: Loop) -> tuple:
        with path.open("rb") as file:
            file.seek(123)

            def send(to: Any) -> Awaitable[int]:
                function = loop.sock_sendfile if way == "socket" else loop.sendfile
                return function(to, file, offset, count, fallback=fallback)

            run = by_socket if way == "socket" else by_transport
            outcome = await run(loop, send)
            positions.append(file.tell())
            return outcome

    seen, received = both(scenario)
    end = len(CONTENT) if count is None else offset + count
    assert received == CONTENT[offset:end]
    assert seen == str(len(received))
    # Always set, says the documentation; asyncio itself leaves it where nothing is sent, up to some releases of 3.14.
    theirs, ours = positions
    assert ours == offset + len(received)
    assert theirs == ours or not received


@pytest.mark.parametrize("way", ["socket", "transport"])
def test_what_is_no_file_is_read(way):
    async def scenario(loop: Loop) -> list[Any]:
        run = by_socket if way == "socket" else by_transport
        seen: list[Any] = []
        for fallback in (True, False):
            file = io.BytesIO(CONTENT)

            def send(to: Any, file=file, fallback=fallback) -> Awaitable[int]:
                function = loop.sock_sendfile if way == "socket" else loop.sendfile
                return function(to, file, 10, 100_000, fallback=fallback)

            seen += [*await run(loop, send), file.tell()]
        return seen

    seen = both(scenario)
    assert seen[1] == CONTENT[10:100_010]
    assert seen[3].split(":")[0] == "asyncio.exceptions.SendfileNotAvailableError"


def test_a_file_of_a_kind_that_cannot_be_sent(tmp_path):
    """A FIFO has a number and no size: nothing is sent, as on asyncio's loop."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def scenario(loop: Loop) -> tuple:
        with open(fifo, "r+b", buffering=0) as file:
            return await by_socket(
                loop, lambda sock: loop.sock_sendfile(sock, file, fallback=False)
            )

    both(scenario)


MISTAKES: dict[str, Callable[..., Awaitable[Any]]] = {
    "text": lambda loop, sock, file: loop.sock_sendfile(sock, open(file.name)),  # noqa: SIM115
    "count": lambda loop, sock, file: loop.sock_sendfile(sock, file, 0, "1"),
    "no count": lambda loop, sock, file: loop.sock_sendfile(sock, file, 0, 0),
    "negative count": lambda loop, sock, file: loop.sock_sendfile(sock, file, 0, -1),
    "offset": lambda loop, sock, file: loop.sock_sendfile(sock, file, "0"),
    "negative offset": lambda loop, sock, file: loop.sock_sendfile(sock, file, -1),
    "not connected": lambda loop, sock, file: loop.sock_sendfile(
        socket.socket(), file, fallback=False
    ),
    "datagrams": lambda loop, sock, file: loop.sock_sendfile(
        socket.socket(type=socket.SOCK_DGRAM), file
    ),
}


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, path):
    async def scenario(loop: Loop) -> tuple:
        with path.open("rb") as file:
            return await by_socket(loop, lambda sock: MISTAKES[mistake](loop, sock, file))

    seen, received = both(scenario)
    assert "Error" in seen
    assert received == b""


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("fallback", [True, False], ids=["fallback", "native"])
@pytest.mark.parametrize(
    "part", [(0, 0), (0, -5), (0, "1"), (-1,), ("0",), (None,), (1.0,), "text"]
)
def test_mistakes_with_a_transport(part, fallback, path):
    async def scenario(loop: Loop) -> tuple:
        with path.open("r" if part == "text" else "rb") as file:
            given = () if part == "text" else part
            return await by_transport(
                loop, lambda to: loop.sendfile(to, file, *given, fallback=fallback)
            )

    seen, received = both(scenario)
    assert "Error" in seen
    assert received == b""


def test_a_blocking_socket_in_debug_mode(path):
    async def scenario(loop: Loop) -> str:
        with path.open("rb") as file, socket.socket() as sock:
            return await outcome(loop.sock_sendfile(sock, file))

    assert both(scenario, debug=True).endswith("ValueError: the socket must be non-blocking")


def test_what_is_written_before_goes_first_and_after_last(path):
    async def scenario(loop: Loop) -> tuple:
        with path.open("rb") as file:

            async def send(transport: asyncio.Transport) -> list[Any]:
                transport.write(b"before " * 500_000)
                sending = loop.create_task(loop.sendfile(transport, file, fallback=False))
                await turns()
                seen: list[Any] = [transport.is_reading()]
                for write in (transport.write, transport.writelines):
                    with pytest.raises(RuntimeError) as refused:
                        write([b"between"] if write == transport.writelines else b"between")
                    seen.append(str(refused.value))
                seen += [await sending, transport.is_reading()]
                transport.write(b" after")
                return seen

            return await by_transport(loop, send)

    seen, received = both(scenario)
    assert received == b"before " * 500_000 + CONTENT + b" after"
    assert seen.startswith("[False, 'unable to write; sendfile is in progress'")


def test_closing_and_unfit_transports(path):
    async def scenario(loop: Loop) -> list[str]:
        with path.open("rb") as file:

            async def closing(transport: asyncio.Transport) -> Any:
                transport.close()
                return await loop.sendfile(transport, file)

            class Unfit(asyncio.Transport):
                def __repr__(self):
                    return "Unfit"

                def is_closing(self):
                    return False

            closed, _ = await by_transport(loop, closing)
            return [closed, await outcome(loop.sendfile(Unfit(), file))]

    assert both(scenario) == [
        "builtins.RuntimeError: Transport is closing",
        "builtins.RuntimeError: sendfile is not supported for transport Unfit",
    ]


@asynccontextmanager
async def stuck(
    loop: Loop, way: str, file: io.BufferedReader
) -> AsyncIterator[tuple[Any, socket.socket, asyncio.Task[int]]]:
    """A file on its way, of which the peer has received the first bytes only: what sends, the peer, the task."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sock = socket.create_connection(listener.getsockname())
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer, _ = listener.accept()
    with sock, peer:
        peer.setblocking(False)
        if way == "socket":
            sending = loop.create_task(loop.sock_sendfile(sock, file, fallback=False))
            sender: Any = sock
        else:
            sender, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
            sending = loop.create_task(loop.sendfile(sender, file, fallback=False))
        assert await loop.sock_recv(peer, 10) == CONTENT[:10]
        await turns(100)
        assert not sending.done()
        yield sender, peer, sending
        if way == "transport":
            sender.abort()
            await turns()


@pytest.mark.parametrize("way", ["socket", "transport"])
def test_the_peer_goes_in_the_middle(way, path):
    async def scenario(loop: Loop) -> tuple:
        with path.open("rb") as file:
            async with stuck(loop, way, file) as (_, peer, sending):
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()
                # A broken pipe or a reset: the system's affair.
                with pytest.raises(ConnectionError):
                    await sending
                # How much was sent is, too.
                return 0 < file.tell() < len(CONTENT)

    assert both(scenario)


@pytest.mark.parametrize("way", ["socket", "transport"])
def test_a_cancelled_file(way, path):
    """The position tells how much was sent, and the transport goes on. (asyncio forgets the position.)"""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:
            async with stuck(loop, way, file) as (sender, peer, sending):
                sending.cancel()
                await asyncio.wait([sending])
                assert sending.cancelled()
                position = file.tell()
                assert position > 10
                receiving = loop.create_task(receive(loop, peer))
                if way == "socket":
                    await loop.sock_sendall(sender, b" end")
                    sender.close()
                else:
                    sender.write(b" end")
                    sender.close()
                received = await within(receiving)
                assert received == CONTENT[10:position] + b" end"

    ferrio.run(main())


def test_cancelled_before_its_turn(path):
    """Its turn comes after what was written. (asyncio leaves the transport mute here.)"""

    async def main() -> tuple[str, bytes]:
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:

            async def send(transport: asyncio.Transport) -> bool:
                transport.write(b"before " * 1_000_000)
                sending = loop.create_task(loop.sendfile(transport, file))
                await asyncio.sleep(0)
                sending.cancel()
                await asyncio.wait([sending])
                transport.write(b"after")
                return transport.is_reading()

            return await within(by_transport(loop, send))

    assert ferrio.run(main()) == ("True", b"before " * 1_000_000 + b"after")


def test_the_transport_is_aborted_in_the_middle(path):
    """(asyncio waits on.)"""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        with path.open("rb") as file:
            async with stuck(loop, "transport", file) as (transport, _, sending):
                transport.abort()
                return await within(outcome(sending))

    assert ferrio.run(main()) == "builtins.ConnectionError [None]: Connection is closed by peer"


def test_the_loop_does_other_things_meanwhile(path):
    async def main() -> int:
        loop = asyncio.get_running_loop()
        others = 0

        async def other() -> None:
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        task = loop.create_task(other())
        with path.open("rb") as file:
            await within(by_transport(loop, lambda transport: loop.sendfile(transport, file)))
        task.cancel()
        return others

    assert ferrio.run(main()) > 3


def test_descriptors_and_memory_stay(tmp_path):
    rounds = 10_000
    path = tmp_path / "small"
    path.write_bytes(b"content")

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        right.setblocking(False)
        _, writer = await asyncio.open_unix_connection(sock=left)

        async def one() -> None:
            with path.open("rb") as file:
                await loop.sendfile(writer.transport, file, fallback=False)
                assert await loop.sock_recv(right, 100) == b"content"
                await loop.sock_sendfile(right, file, fallback=False)

        async def some(count: int) -> tuple[int, int]:
            for _ in range(count):
                await one()
            gc.collect()
            return sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))

        async def drop() -> None:
            while await reader.read(1 << 16):
                pass

        reader = _
        dropping = loop.create_task(drop())
        before = await some(200)
        after = await some(rounds)
        dropping.cancel()
        writer.close()
        right.close()
        return after[0] - before[0], after[1] - before[1]

    blocks, descriptors = ferrio.run(main())
    assert descriptors == 0
    assert blocks < rounds / 100
