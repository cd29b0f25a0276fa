"""Connections: `create_connection` and `sock_connect`.

What is known of the address decides how: a literal one needs no name server, no race between several and no list of
what went wrong. All else is `asyncio.BaseEventLoop`'s.
"""

import asyncio
import functools
import socket
from asyncio import base_events
from typing import TYPE_CHECKING, Any

from ._state import State

_asyncio_s = asyncio.BaseEventLoop.create_connection
_DEFAULTS = (_asyncio_s.__kwdefaults__ or {}).items()


class Connections(State):
    """Connecting, by `asyncio.BaseEventLoop` where there is more than one address to try."""

    __slots__ = ()

    # Type checkers see asyncio's, which has a type for each way to call it.
    if not TYPE_CHECKING:

        @functools.wraps(_asyncio_s)
        async def create_connection(self, protocol_factory, host=None, port=None, **options):
            begun = None
            if (
                not self._debug
                and (not options or options.items() <= _DEFAULTS)
                and getattr(self.sock_connect, "__func__", None) is Connections.sock_connect
            ):
                begun = self._open_to_literal(host, port)
            if begun is None:
                return await super().create_connection(protocol_factory, host, port, **options)
            sock, address, connected = begun
            if not connected:
                try:
                    await self._sock_connected(sock, address)
                except BaseException:
                    sock.close()
                    raise
            return await self._create_connection_transport(sock, protocol_factory, None, None)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a non-blocking socket to an address.

        Raises TypeError for an SSLSocket, ValueError in debug mode for a blocking socket, and the OSError of the
        name's resolution or of the connection.
        """
        connected = self._connect_to_literal(sock, address)
        if connected is None:
            base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
            if self._debug and sock.gettimeout() != 0:
                raise ValueError("the socket must be non-blocking")
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                resolved = await self._ensure_resolved(  # type: ignore[attr-defined]
                    address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
                )
                address = resolved[0][4]
            try:
                sock.connect(address)
                connected = True
            except (BlockingIOError, InterruptedError):
                pass
        if not connected:
            await self._sock_connected(sock, address)
