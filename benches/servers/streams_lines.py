"""Echo with streams, as line protocols do: readline, write, drain."""

import asyncio
import socket
import ssl

from benches.loops import Names
from benches.servers._serve import serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def start(names: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    return await names.start_server(echo, sock=listener, ssl=tls)


if __name__ == "__main__":
    serve(start)
