"""The set-up of encrypted connections. What runs at every byte is `_ferrio.SSLTransport`."""

import asyncio
import ssl
from asyncio import constants, sslproto
from asyncio.streams import StreamReaderProtocol
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from ._ferrio import StreamReader

if TYPE_CHECKING:
    from ._loop import Loop


def layer(
    loop: "Loop",
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext | None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Return a new encrypted transport, to be the protocol of the transport below it.

    Raises ValueError for time-outs that are not positive, and what `SSLContext.wrap_bio` raises.
    """
    if ssl_handshake_timeout is None:
        ssl_handshake_timeout = constants.SSL_HANDSHAKE_TIMEOUT
    elif ssl_handshake_timeout <= 0:
        raise ValueError(
            f"ssl_handshake_timeout should be a positive number, got {ssl_handshake_timeout}"
        )
    if ssl_shutdown_timeout is None:
        ssl_shutdown_timeout = constants.SSL_SHUTDOWN_TIMEOUT
    elif ssl_shutdown_timeout <= 0:
        raise ValueError(
            f"ssl_shutdown_timeout should be a positive number, got {ssl_shutdown_timeout}"
        )
    if not sslcontext:
        sslcontext = sslproto._create_transport_context(server_side, server_hostname)
    assert sslcontext is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ssl_object = sslcontext.wrap_bio(
        incoming,
        outgoing,
        server_side=server_side,
        server_hostname=(None if server_side else server_hostname) or None,
    )
    return loop._make_tls(
        protocol,
        sslcontext,
        ssl_object,
        incoming,
        outgoing,
        ssl_handshake_timeout,
        ssl_shutdown_timeout,
        **kwargs,
    )


def make_transport(
    loop: "Loop",
    rawsock: Any,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext | None,
    waiter: "asyncio.Future[None] | None" = None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    extra: dict[str, Any] | None = None,
    server: asyncio.Server | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    context: Context | None = None,
) -> asyncio.Transport:
    """Return the encrypted transport of a connected socket, whose handshake is about to begin.

    Raises RuntimeError for a socket that another transport has, and what `layer` raises.
    """
    loop._ensure_fd_no_transport(rawsock)
    tls = layer(
        loop,
        protocol,
        sslcontext,
        server_side=server_side,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        waiter=waiter,
    )
    loop._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
    return tls  # type: ignore[no-any-return]


def server_factory(
    loop: "Loop",
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    sslcontext: ssl.SSLContext,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> Callable[[], Any]:
    """Return a factory of encrypted transports for the protocols that `protocol_factory` makes."""

    def factory() -> Any:
        return layer(
            loop,
            protocol_factory(),
            sslcontext,
            server_side=True,
            ssl_handshake_timeout=handshake_timeout,
            ssl_shutdown_timeout=shutdown_timeout,
            accepted=True,
        )

    return factory


def _take_unread(protocol: asyncio.BaseProtocol) -> bytes:
    """Take what a stream has received and nobody has read: the client may have begun the handshake already."""
    if not isinstance(protocol, StreamReaderProtocol):
        return b""
    streams: Any = protocol
    reader = streams._stream_reader
    if reader is None:
        return b""
    if isinstance(reader, StreamReader):
        return reader._take_buffered()
    unread = bytes(reader._buffer)
    reader._buffer.clear()
    return unread


async def start_tls(
    loop: "Loop",
    transport: Any,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
) -> asyncio.Transport:
    """Encrypt a connection from now on; return the transport that `protocol` is to use.

    Raises TypeError for a context or a transport that can't do it, what `layer` raises, and what the handshake does.
    """
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter = loop.create_future()
    tls = layer(
        loop,
        protocol,
        sslcontext,
        server_side=server_side,
        server_hostname=server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
        waiter=waiter,
        call_connection_made=False,
    )
    # Paused, so that nothing comes in between before the handshake has begun.
    transport.pause_reading()
    early = _take_unread(protocol) if server_side else b""
    transport.set_protocol(tls)
    steps = [loop.call_soon(tls.connection_made, transport)]
    if early:
        steps.append(loop.call_soon(tls.data_received, early))
    steps.append(loop.call_soon(transport.resume_reading))
    try:
        await waiter
    except BaseException:
        transport.close()
        for step in steps:
            step.cancel()
        # It holds the exception, whose traceback holds this frame.
        del waiter
        raise
    return tls  # type: ignore[no-any-return]
