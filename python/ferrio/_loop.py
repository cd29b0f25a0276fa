"""The event loop.

What runs at every turn is Rust: `_ferrio.Loop`. What only sets things up and waits (resolving names, choosing among
addresses, starting executors) is inherited from `asyncio.BaseEventLoop`, which asyncio offers as the base of custom
loops: these coroutines are genuine ones, behave as those of the interpreter that runs them, and cost nothing per byte.
"""

import asyncio
import logging
import os
import selectors
import socket
import ssl
import sys
import threading
from asyncio import base_events
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from . import _ferrio, _tls
from ._connect import Connections
from ._names import Names
from ._sendfile import Sendfile
from ._signals import Signals, in_main_thread
from ._subprocesses import Subprocesses
from ._unix import UnixSockets

_logger = logging.getLogger("asyncio")


class Loop(UnixSockets, Connections, Names, Sendfile, Signals, Subprocesses, asyncio.BaseEventLoop):
    """ferrio's event loop: `asyncio.AbstractEventLoop`, all of it documented there."""

    if TYPE_CHECKING:
        # What is used of asyncio.BaseEventLoop beyond its documented face.
        _coroutine_origin_tracking_enabled: bool

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        """Make a loop. `selector` is there for programs that give one to `asyncio.SelectorEventLoop`: ferrio's poller
        does its work, and it is left alone."""
        # What opens descriptors last: when it can't, the loop can be finalized all the same.
        asyncio.BaseEventLoop.__init__(self)
        self._old_agen_hooks = None
        UnixSockets.__init__(self)
        Signals.__init__(self)
        Subprocesses.__init__(self)
        _ferrio.Loop.__init__(self)
        if in_main_thread():
            self._open_signals()

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if callable(value):
            self._note_replaced()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._note_replaced()

    def run_forever(self) -> None:
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
            self._begin_wakeups()
            self._run()
        finally:
            self._stopping = False
            self._thread_id = None
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)
            self._end_wakeups()

    def close(self) -> None:
        """Close the loop: drop what is scheduled, stop the default executor without waiting for it.

        Raises RuntimeError when the loop is running, and ValueError, with the loop closed, when signals are handled
        and this is not the main thread. Closing twice is fine.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        # Not by its name, which may be gone already when an interpreter that ends drops the loop.
        super().close()
        self._close()
        self._close_children()
        self._close_signals()

    def _set_coroutine_origin_tracking(self, enabled: bool) -> None:
        tracked = self._coroutine_origin_tracking_enabled
        super()._set_coroutine_origin_tracking(enabled)  # type: ignore[misc]
        if bool(enabled) != bool(tracked):
            _ferrio.track_origins(enabled)

    def _create_task_by_factory(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task factory as this interpreter's asyncio does."""
        return asyncio.BaseEventLoop.create_task(self, *args, **kwargs)

    def _submit(self, *args: Any, **kwargs: Any) -> Any:
        """Call `run_in_executor` of asyncio: for executors that are not ferrio's own, and in debug mode."""
        return asyncio.BaseEventLoop.run_in_executor(self, *args, **kwargs)

    def _log_slow_callback(self, what: object, seconds: float) -> None:
        """Log a handle, or a task or transport that stood in the queue as itself, and how long it ran."""
        is_handle = isinstance(what, asyncio.Handle)
        shown = base_events._format_handle(what) if is_handle else repr(what)  # type: ignore[attr-defined]
        _logger.warning("Executing %s took %.3f seconds", shown, seconds)

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: asyncio.Server | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
    ) -> None:
        """Accept connections: what `asyncio.Server` calls, from Python 3.15 on with the context of its making."""
        if sslcontext is not None:
            timeouts = ssl_handshake_timeout, ssl_shutdown_timeout
            protocol_factory = _tls.server_factory(self, protocol_factory, sslcontext, *timeouts)
        self._listen(protocol_factory, sock, server, backlog, context)

    _make_ssl_transport = _tls.make_transport
    start_tls = _tls.start_tls


def _send_gathered() -> None:
    """Before a fork: send what waits for the end of this turn, lest parent and child both send it."""
    running = asyncio._get_running_loop()
    if isinstance(running, Loop):
        running._send_gathered()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_send_gathered)


def new_event_loop() -> Loop:
    """Return a new event loop of ferrio."""
    return Loop()
