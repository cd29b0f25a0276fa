"""The event loop.

What runs at every turn is Rust: `_ferrio.Loop`. What only sets things up and waits (resolving names, choosing an
address, starting executors) is inherited from `asyncio.BaseEventLoop`, which asyncio offers as the base of custom
loops: these coroutines are genuine ones, behave as those of the interpreter that runs them, and cost nothing per byte.
"""

import asyncio
import logging
import socket
import sys
import threading
from asyncio import base_events

from . import _ferrio
from ._signals import Signals

_logger = logging.getLogger("asyncio")

# The address families whose addresses are names to resolve.
_RESOLVED_FAMILIES = {socket.AF_INET, socket.AF_INET6}


def _wake(waiter):
    if not waiter.done():
        waiter.set_result(None)


def _not_yet(name):
    def method(self, *args, **kwargs):
        raise NotImplementedError(name)

    method.__name__ = name
    method.__qualname__ = f"Loop.{name}"
    method.__doc__ = f"Not yet: raise NotImplementedError with the name `{name}`."
    return method


class Loop(_ferrio.Loop, Signals, asyncio.BaseEventLoop):
    """ferrio's event loop: `asyncio.AbstractEventLoop`, all of it documented there."""

    def __init__(self):
        _ferrio.Loop.__init__(self)
        asyncio.BaseEventLoop.__init__(self)

    def run_forever(self):
        """Run until `stop()` is called.

        Raises RuntimeError when the loop is closed or running, or another loop runs in this thread, and what a
        callback raises by KeyboardInterrupt or SystemExit.
        """
        self._check_closed()
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        self._set_coroutine_origin_tracking(self._debug)
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
            )
            asyncio._set_running_loop(self)
            self._run()
        finally:
            self._stopping = False
            self._thread_id = None
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def close(self):
        """Close the loop: drop what is scheduled, stop the default executor without waiting for it.

        Raises RuntimeError when the loop is running. Closing twice is fine.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._close_signals()
        asyncio.BaseEventLoop.close(self)
        self._close()

    # A task factory is called as this interpreter's asyncio calls it.
    _create_task_by_factory = asyncio.BaseEventLoop.create_task

    def _log_slow_callback(self, handle, seconds):
        _logger.warning("Executing %s took %.3f seconds", base_events._format_handle(handle), seconds)

    async def sock_connect(self, sock, address):
        """Connect a non-blocking socket to an address.

        Raises ValueError in debug mode for a blocking socket, and the OSError of the connection.
        """
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        if sock.family in _RESOLVED_FAMILIES:
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            await self._connected(sock, address)

    async def _connected(self, sock, address):
        """Wait until a connection that was begun is made or refused."""
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        waiter = self.create_future()
        self._add_writer(fd, _wake, waiter)
        try:
            await waiter
        finally:
            self._remove_writer(fd)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")

    def _start_serving(
        self, protocol_factory, sock, sslcontext=None, server=None, backlog=100, *_, **__
    ):
        if sslcontext is not None:
            raise NotImplementedError("create_server(ssl=...)")
        self._listen(protocol_factory, sock, server, backlog)

    def _make_ssl_transport(self, *args, **kwargs):
        raise NotImplementedError("create_connection(ssl=...)")

    connect_accepted_socket = _not_yet("connect_accepted_socket")
    connect_read_pipe = _not_yet("connect_read_pipe")
    connect_write_pipe = _not_yet("connect_write_pipe")
    create_datagram_endpoint = _not_yet("create_datagram_endpoint")
    create_unix_connection = _not_yet("create_unix_connection")
    create_unix_server = _not_yet("create_unix_server")
    sendfile = _not_yet("sendfile")
    sock_sendfile = _not_yet("sock_sendfile")
    start_tls = _not_yet("start_tls")
    subprocess_exec = _not_yet("subprocess_exec")
    subprocess_shell = _not_yet("subprocess_shell")
