"""Echo with a Protocol: `data_received` writes what it was given. Also over TLS."""

import asyncio
import socket
import ssl
from typing import cast

from benches.loops import Names
from benches.servers._serve import accept, serve


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def start(_: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    return await accept(Echo, listener, tls)


if __name__ == "__main__":
    serve(start)
