"""Echo with a task a connection and the loop's socket methods: sock_recv, sock_sendall."""

import asyncio
import socket
import ssl

from benches.loops import Names
from benches.servers._serve import serve


async def echo(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while data := await loop.sock_recv(connection, 64 * 1024):
            await loop.sock_sendall(connection, data)


def hear(task: asyncio.Task[None]) -> None:
    """Raises what ended a task, so that the loop's exception handler hears of it."""
    task.result()


async def accept(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    connections = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        connection.setblocking(False)
        task = loop.create_task(echo(loop, connection))
        connections.add(task)
        task.add_done_callback(connections.discard)
        task.add_done_callback(hear)


async def start(_: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    accepting = loop.create_task(accept(loop, listener))
    accepting.add_done_callback(hear)
    return accepting


if __name__ == "__main__":
    serve(start)
