"""Signal handlers that run as callbacks of the loop."""

import asyncio
import errno
import inspect
import logging
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from contextvars import Context, copy_context
from types import FrameType
from typing import TYPE_CHECKING, Any, Unpack

from ._state import State

if TYPE_CHECKING:
    from ._ferrio import _Ts

_logger = logging.getLogger("asyncio")


def _noop(signum: int, frame: FrameType | None) -> None:
    """Make Python write the signal's number to the wake-up descriptor; the loop calls the handler."""


class Signals(State):
    """The native loop with `add_signal_handler` and `remove_signal_handler`."""

    __slots__ = ()

    # The sockets between Python's signal handler and the loop, made with the first handler.
    _signal_sockets: tuple[socket.socket, socket.socket] | None
    _signal_handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...], Context]]

    def add_signal_handler(
        self, sig: int, callback: "Callable[[*_Ts], object]", *args: "Unpack[_Ts]"
    ) -> None:
        """Call the callback with the arguments whenever the signal comes.

        Raises TypeError for a coroutine, ValueError for an invalid signal, RuntimeError for one that can't be caught
        and in any thread but the main one.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check(sig)
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if self._signal_sockets is None:
            self._signal_sockets = self._open_signals()
        try:
            # Refused in any thread but the main one, before a handler is changed.
            signal.set_wakeup_fd(self._signal_sockets[1].fileno())
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from None
        self._signal_handlers[sig] = callback, args, copy_context()
        try:
            signal.signal(sig, _noop)
            # System calls that the signal interrupts go on by themselves.
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._reset_wakeup()
            raise _uncatchable(sig, error) from None

    def remove_signal_handler(self, sig: int) -> bool:
        """Give the signal its default handler back. Return True if there was one to remove.

        Raises TypeError and ValueError for what is no signal, RuntimeError for one that can't be caught.
        """
        _check(sig)
        if self._signal_sockets is None or self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            raise _uncatchable(sig, error) from None
        self._reset_wakeup()
        return True

    def _open_signals(self) -> tuple[socket.socket, socket.socket]:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._signal_handlers = {}
        self._add_reader(reader.fileno(), self._read_signals, reader)
        return reader, writer

    def _read_signals(self, reader: socket.socket) -> None:
        try:
            numbers = reader.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        for number in numbers:
            # Removed, it may still have come before.
            if number in self._signal_handlers:
                callback, args, context = self._signal_handlers[number]
                self.call_soon(callback, *args, context=context)

    def _reset_wakeup(self) -> None:
        if not self._signal_handlers:
            try:
                signal.set_wakeup_fd(-1)
            except (ValueError, OSError) as error:
                _logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _close_signals(self) -> None:
        """Give every handled signal its default back and close the sockets.

        Raises ValueError in any thread but the main one, where signals can't be given back.
        """
        if self._signal_sockets is None:
            return
        try:
            if sys.is_finalizing() and self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, "
                    "skipping signal handlers removal",
                    ResourceWarning,
                    stacklevel=2,
                    source=self,
                )
                self._signal_handlers.clear()
            for number in list(self._signal_handlers):
                self.remove_signal_handler(number)
        finally:
            for end in self._signal_sockets:
                end.close()


def _check(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _uncatchable(sig: int, error: OSError) -> Exception:
    """What to raise for the `error` of setting a handler."""
    return RuntimeError(f"sig {sig} cannot be caught") if error.errno == errno.EINVAL else error
