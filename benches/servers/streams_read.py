"""Echo with streams: read what has come, write it."""

import asyncio
import socket
import ssl

from benches.loops import Names
from benches.servers._serve import serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
    writer.close()


async def start(names: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    if listener.family == socket.AF_UNIX:
        return await names.start_unix_server(echo, sock=listener, ssl=tls)
    return await names.start_server(echo, sock=listener, ssl=tls)


if __name__ == "__main__":
    serve(start)
