"""Signal handlers that run as callbacks of the loop."""

import asyncio
import errno
import logging
import signal
import socket

_logger = logging.getLogger("asyncio")


def _noop(signum, frame):
    """Make Python write the signal's number to the wake-up descriptor; the loop calls the handler."""


class Signals:
    """`add_signal_handler` and `remove_signal_handler` for a loop with `_add_reader` and `call_soon`."""

    # The sockets between Python's signal handler and the loop, made with the first handler.
    _signal_sockets = None
    _signal_handlers = None

    def add_signal_handler(self, sig, callback, *args):
        """Call the callback with the arguments whenever the signal comes.

        Raises TypeError for a coroutine, ValueError for an invalid signal, RuntimeError for one that can't be caught
        and in any thread but the main one.
        """
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check(sig)
        self._check_closed()
        if self._signal_sockets is None:
            self._open_signals()
        try:
            # Refused in any thread but the main one, before a handler is changed.
            signal.set_wakeup_fd(self._signal_sockets[1].fileno())
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from None
        self._signal_handlers[sig] = asyncio.Handle(callback, args, self, None)
        try:
            signal.signal(sig, _noop)
            # System calls that the signal interrupts go on by themselves.
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._reset_wakeup()
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise

    def remove_signal_handler(self, sig):
        """Give the signal its default handler back. Return True if there was one to remove."""
        _check(sig)
        if not self._signal_handlers or self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        self._reset_wakeup()
        return True

    def _open_signals(self):
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._signal_sockets = reader, writer
        self._signal_handlers = {}
        self._add_reader(reader.fileno(), self._read_signals, reader)

    def _read_signals(self, reader):
        try:
            numbers = reader.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        for number in numbers:
            handle = self._signal_handlers.get(number)
            if handle is None:
                continue
            if handle.cancelled():
                self.remove_signal_handler(number)
            else:
                self.call_soon(handle._run)

    def _reset_wakeup(self):
        if not self._signal_handlers:
            try:
                signal.set_wakeup_fd(-1)
            except (ValueError, OSError) as error:
                _logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _close_signals(self):
        """Give every handled signal its default back and close the sockets."""
        if self._signal_sockets is None:
            return
        for number in list(self._signal_handlers):
            self.remove_signal_handler(number)
        reader, writer = self._signal_sockets
        self._signal_sockets = None
        self._remove_reader(reader.fileno())
        reader.close()
        writer.close()


def _check(sig):
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")
