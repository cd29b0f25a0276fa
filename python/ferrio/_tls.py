"""TLS by asyncio's own protocol, on ferrio's stream transports."""

from asyncio.sslproto import SSLProtocol


def make_transport(
    loop,
    rawsock,
    protocol,
    sslcontext,
    waiter=None,
    *,
    server_side=False,
    server_hostname=None,
    extra=None,
    server=None,
    ssl_handshake_timeout=None,
    ssl_shutdown_timeout=None,
):
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
    loop._make_socket_transport(rawsock, tls, extra=extra, server=server)
    return tls._app_transport


def server_factory(loop, protocol_factory, sslcontext, handshake_timeout, shutdown_timeout):
    """Return a factory of protocols that encrypt for those of `protocol_factory`."""

    def factory():
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

        def shaken(waiter):
            error = waiter.exception()
            if error is None:
                return
            transport.close()
            if loop.get_debug():
                message = "Error on transport creation for incoming connection"
                context = {"message": message, "exception": error}
                context |= {"protocol": protocol, "transport": transport}
                loop.call_exception_handler(context)

        waiter.add_done_callback(shaken)
        return tls

    return factory
