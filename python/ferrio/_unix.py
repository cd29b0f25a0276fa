"""Unix sockets: servers and connections with a path or an abstract name."""

import asyncio
import logging
import os
import socket
from typing import Any

from ._state import State

_logger = logging.getLogger("asyncio")


class UnixSockets(State):
    """`create_unix_connection` and `create_unix_server`, as this interpreter's asyncio has them."""

    __slots__ = ()

    create_unix_connection = asyncio.SelectorEventLoop.create_unix_connection
    create_unix_server = asyncio.SelectorEventLoop.create_unix_server

    def __init__(self) -> None:
        # From Python 3.13 on: the servers' sockets whose files are removed with them, and the files' inode numbers.
        self._unix_server_sockets: dict[socket.socket, int] = {}

    def _stop_serving(self, sock: socket.socket) -> None:
        """Accept no more, close the socket, and remove its file unless another has taken its place."""
        inode = self._unix_server_sockets.pop(sock, None)
        path: Any = None if inode is None else sock.getsockname()
        super()._stop_serving(sock)
        if path is None:
            return
        try:
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            _logger.error("Unable to clean up listening UNIX socket %r: %r", path, error)
