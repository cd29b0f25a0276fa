"""Connections and servers whose bytes go through streams."""

import asyncio
from collections.abc import Callable
from typing import Any

from ._ferrio import StreamReader, StreamReaderProtocol, StreamWriter

# How many bytes a reader takes for a line, and half of how many it keeps before the transport pauses.
_DEFAULT_LIMIT = 2**16


def _client_stream(
    loop: asyncio.AbstractEventLoop, limit: int
) -> tuple[StreamReader, StreamReaderProtocol]:
    """The reader and the protocol of a connection that this side opens."""
    reader = StreamReader(limit=limit, loop=loop)
    return reader, StreamReaderProtocol(reader, loop=loop)


def _server_factory(
    loop: asyncio.AbstractEventLoop, limit: int, client_connected_cb: Callable[..., object]
) -> Callable[[], StreamReaderProtocol]:
    """The function that makes the protocol of each connection that a server accepts."""

    def factory() -> StreamReaderProtocol:
        reader = StreamReader(limit=limit, loop=loop)
        return StreamReaderProtocol(reader, client_connected_cb, loop=loop)  # type: ignore[arg-type]

    return factory


async def open_connection(
    host: Any = None, port: Any = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to `host`:`port` and return a pair (reader, writer).

    `limit` is that of the reader, in bytes; all else is what `loop.create_connection` takes.
    Raises what that raises.
    """
    loop = asyncio.get_running_loop()
    reader, protocol = _client_stream(loop, limit)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(
    client_connected_cb: Callable[..., object],
    host: Any = None,
    port: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Accept connections at `host`:`port`; call `client_connected_cb(reader, writer)` for each.

    The callback may be a coroutine function: then each call becomes a task. `limit` is that of the
    readers, in bytes; all else is what `loop.create_server` takes. Returns the server. Raises what
    that raises.
    """
    loop = asyncio.get_running_loop()
    factory = _server_factory(loop, limit, client_connected_cb)
    return await loop.create_server(factory, host, port, **kwds)


async def open_unix_connection(
    path: Any = None, *, limit: int = _DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Do as `open_connection` for a Unix socket, with what `loop.create_unix_connection` takes."""
    loop = asyncio.get_running_loop()
    reader, protocol = _client_stream(loop, limit)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(
    client_connected_cb: Callable[..., object],
    path: Any = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Do as `start_server` for a Unix socket, with what `loop.create_unix_server` takes."""
    loop = asyncio.get_running_loop()
    factory = _server_factory(loop, limit, client_connected_cb)
    return await loop.create_unix_server(factory, path, **kwds)
