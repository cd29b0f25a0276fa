"""Every method that waits, cancelled at each wait: it has done all or raises CancelledError, and leaves nothing.

`create_server()` is not here: cancelled in its last turn, asyncio's own coroutine, which is ferrio's too, leaves a
server that nobody knows.
"""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from .differential import LOOPS

Loop = asyncio.AbstractEventLoop

# More turns than any of the methods waits.
TURNS = 40


@asynccontextmanager
async def _pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


async def create_connection(loop: Loop, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, "localhost", port)
        transport.abort()


async def serve_forever(loop: Loop, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await loop.create_server(asyncio.Protocol, sock=listener, start_serving=False)
        loop.call_later(0.01, server.close)
        await server.serve_forever()


async def create_unix_connection(loop: Loop, folder: Path) -> None:
    path = str(folder / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        transport, _ = await loop.create_unix_connection(asyncio.Protocol, path)
        transport.abort()


async def connect_accepted_socket(loop: Loop, folder: Path) -> None:
    async with _pair() as (left, _):
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, left.dup())
        transport.abort()


async def create_datagram_endpoint(loop: Loop, folder: Path) -> None:
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("localhost", 0)
    )
    transport.close()


async def connect_read_pipe(loop: Loop, folder: Path) -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", 0), open(reading, "rb", 0) as file:
        transport, _ = await loop.connect_read_pipe(asyncio.Protocol, file)
        transport.close()


async def connect_write_pipe(loop: Loop, folder: Path) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", 0), open(writing, "wb", 0) as file:
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, file)
        transport.close()


async def subprocess_exec(loop: Loop, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        await process.communicate(b"hello")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def sendfile(loop: Loop, folder: Path) -> None:
    file = folder / "file"
    file.write_bytes(bytes(100_000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
        try:
            with file.open("rb") as opened:
                await loop.sendfile(transport, opened)
        finally:
            transport.abort()


async def sock_connect_and_accept(loop: Loop, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
        accepted.close()


async def sock_recv_and_sendall(loop: Loop, folder: Path) -> None:
    async with _pair() as (left, right):
        data = bytes(1 << 20)
        sending = loop.create_task(loop.sock_sendall(left, data))
        try:
            received = 0
            while received < len(data):
                received += len(await loop.sock_recv(right, 100_000))
            await sending
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def getaddrinfo(loop: Loop, folder: Path) -> None:
    assert await loop.getaddrinfo("localhost", 80)
    assert await loop.getnameinfo(("127.0.0.1", 80))


async def run_in_executor(loop: Loop, folder: Path) -> None:
    assert await loop.run_in_executor(None, int, 5) == 5


METHODS: list[Callable[[Loop, Path], Awaitable[None]]] = [
    create_connection,
    serve_forever,
    create_unix_connection,
    connect_accepted_socket,
    create_datagram_endpoint,
    connect_read_pipe,
    connect_write_pipe,
    subprocess_exec,
    sendfile,
    sock_connect_and_accept,
    sock_recv_and_sendall,
    getaddrinfo,
    run_in_executor,
]


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/dev/fd"))


async def _until_closed(before: int) -> None:
    """What was cancelled may take some turns to close, and a child to end."""
    async with asyncio.timeout(20):
        while _descriptors() > before:
            await asyncio.sleep(0.001)


async def _cancelled_after(turns: int, loop: Loop, method: Any, folder: Path) -> str:
    task = loop.create_task(method(loop, folder))
    for turn in range(turns):
        # Threads and children need time rather than turns.
        await asyncio.sleep(0 if turn < TURNS // 2 else 0.001)
    task.cancel()
    try:
        await asyncio.wait_for(task, 20)
    except asyncio.CancelledError:
        return "cancelled"
    return "done"


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_cancelled_at_each_wait(method: Any, name: str, tmp_path: Path) -> None:
    async def main() -> set[str]:
        loop = asyncio.get_running_loop()
        # The executor's threads and the loop's own descriptors are there from the second time on.
        await _cancelled_after(0, loop, run_in_executor, tmp_path)
        await method(loop, tmp_path) if method is not serve_forever else None
        await asyncio.sleep(0.01)
        before, outcomes = _descriptors(), set()
        for turns in range(TURNS):
            folder = tmp_path / str(turns)
            folder.mkdir()
            outcomes.add(await _cancelled_after(turns, loop, method, folder))
            await _until_closed(before)
        return outcomes

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: None)
        assert "cancelled" in runner.run(main())
