"""TLS by asyncio's own protocol, on ferrio's stream transports."""

import asyncio
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._loop import Loop

# Its stubs take less than it does.
SSLProtocol: Any = sslproto.SSLProtocol


def make_transport(
    loop: "Loop",
    rawsock: socket.socket,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext,
    waiter: "asyncio.Future[None] | None" = None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    extra: dict[str, Any] | None = None,
    server: asyncio.AbstractServer | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    context: Context | None = None,
) -> asyncio.Transport:
    """Return the encrypted transport of a connected socket, whose handshake is about to begin.

    Raises ValueError for time-outs that are not positive and for what the context refuses.
    """
    loop._ensure_fd_no_transport(rawsock)
    tls = SSLProtocol(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side,
        server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    loop._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
    transport: asyncio.Transport = tls._app_transport
    return transport


def server_factory(
    loop: "Loop",
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    sslcontext: ssl.SSLContext,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> Callable[[], asyncio.BaseProtocol]:
    """Return a factory of protocols that encrypt for those of `protocol_factory`."""

    def factory() -> asyncio.BaseProtocol:
        protocol = protocol_factory()
        waiter = loop.create_future()
        tls = SSLProtocol(
            loop,
            protocol,
            sslcontext,
            waiter,
            server_side=True,
            ssl_handshake_timeout=handshake_timeout,
            ssl_shutdown_timeout=shutdown_timeout,
        )
        transport = tls._app_transport

        def shaken(waiter: "asyncio.Future[None]") -> None:
            error = waiter.exception()
            if error is None:
                return
            transport.close()
            if loop.get_debug():
                message = "Error on transport creation for incoming connection"
                context: dict[str, Any] = {"message": message, "exception": error}
                context |= {"protocol": protocol, "transport": transport}
                loop.call_exception_handler(context)

        waiter.add_done_callback(shaken)
        return tls  # type: ignore[no-any-return]

    return factory
