"""Echo with a DatagramProtocol: each datagram goes back to where it came from."""

import asyncio
import socket
import ssl
from typing import cast

from benches.loops import Names
from benches.servers._serve import serve, settle_allocator


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


def bind(_: str | None) -> socket.socket:
    settle_allocator()
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    return bound


async def start(_: Names, bound: socket.socket, tls: ssl.SSLContext | None) -> object:
    return await asyncio.get_running_loop().create_datagram_endpoint(Echo, sock=bound)


if __name__ == "__main__":
    serve(start, bind)
