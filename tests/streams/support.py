"""Ways to connect two streams."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import ferrio

# Long enough for a machine that has much else to do. Nothing waits that long unless it hangs.
PATIENCE = 30

Handler = Callable[[Any, Any], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

WAYS = ["tcp", "unix", "openssl", "memory_bio"]


@contextlib.asynccontextmanager
async def connected(
    way: str,
    handler: Handler,
    contexts: dict[str, ssl.SSLContext],
    folder: Path,
    streams: ModuleType = ferrio,
    **options: Any,
) -> AsyncIterator[Streams]:
    """The client's streams to a server that runs `handler`, over one of WAYS. `options` are the client's."""
    if way == "unix":
        path = str(folder / "socket")
        server = await streams.start_unix_server(handler, path)
        reader, writer = await streams.open_unix_connection(path, **options)
    else:
        encrypted = way != "tcp"
        server_options, client_options = {}, options
        if encrypted:
            server_options = {"ssl": contexts["server"]}
            client_options = {"ssl": contexts["client"], **options}
        server = await streams.start_server(handler, "127.0.0.1", 0, **server_options)
        address = server.sockets[0].getsockname()
        reader, writer = await streams.open_connection(*address, **client_options)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()


async def pipe_streams(streams: ModuleType = ferrio, **options: Any) -> Streams:
    """A reader and a writer at the two ends of a pipe. `options` are the reader's."""
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    reader = streams.StreamReader(**options)
    await loop.connect_read_pipe(
        lambda: streams.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", 0)
    )
    transport, protocol = await loop.connect_write_pipe(
        lambda: streams.StreamReaderProtocol(streams.StreamReader()), os.fdopen(write_end, "wb", 0)
    )
    return reader, streams.StreamWriter(transport, protocol, None, loop)
