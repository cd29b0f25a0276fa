"""Operations of names, addresses and connections."""

import asyncio
import socket
import struct
from asyncio import AbstractEventLoop

from benches.loops import Names

ABORT = struct.pack("ii", 1, 0)
"""Closing is a reset, after which no port is kept for a minute."""


async def getaddrinfo(loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """`getaddrinfo` of a literal address, which needs to ask nobody, and so needs no thread."""
    for _ in range(rounds):
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


async def create_connection(loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """`create_connection` to a literal address; the other end resets the connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for _ in range(rounds):
            transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            accepted.close()
            transport.abort()
