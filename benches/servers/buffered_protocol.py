"""Echo with a BufferedProtocol: one buffer a connection, `buffer_updated` writes a copy of what
came (the transport may keep what it is given, and the buffer is used again)."""

import asyncio
import socket
import ssl
from typing import cast

from benches.loops import Names
from benches.servers._serve import accept, serve


class Echo(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        self.transport.write(bytes(self.buffer[:count]))


async def start(_: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    return await accept(Echo, listener, tls)


if __name__ == "__main__":
    serve(start)
