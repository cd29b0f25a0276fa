"""Signals: how they wake the loop, and handlers that run as its callbacks.

A signal ends a wait for events only if it comes during the wait: one that comes just before is noticed by Python after
it, perhaps much later. So while a loop runs in the main thread Python writes the signals' numbers into a pipe that the
loop watches (`signal.set_wakeup_fd`), unless the program has a descriptor of its own there.
"""

import asyncio
import contextlib
import errno
import inspect
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextvars import Context, copy_context
from types import FrameType
from typing import TYPE_CHECKING, Any, Unpack

from ._state import State

if TYPE_CHECKING:
    from ._ferrio import _Ts

_logger = logging.getLogger("asyncio")


# The writing ends of the pipes of this process's loops.
_ends: set[int] = set()


def _leave_parent() -> None:
    """In a forked child: don't write its signals into a pipe that its parent reads. From Python 3.12 on asyncio sees
    to that."""
    end = signal.set_wakeup_fd(-1)
    if end not in (-1, *_ends):
        signal.set_wakeup_fd(end)


if sys.version_info < (3, 12) and hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_parent)


def in_main_thread() -> bool:
    """Return whether this is the thread that Python handles signals in."""
    return threading.get_ident() == threading.main_thread().ident


def _noop(signum: int, frame: FrameType | None) -> None:
    """Make Python write the signal's number to the wake-up descriptor; the loop calls the handler."""


class Signals(State):
    """The native loop with `add_signal_handler` and `remove_signal_handler`, and what it does for signals in a run."""

    __slots__ = ()

    # The pipe's ends between Python's signal handler and the loop, opened with a loop of the main thread, and with
    # another when it first needs it. A pipe, for it holds 65,536 signals; a pair of sockets holds some 200.
    _signal_pipe: tuple[int, int] | None
    # Whether this run of the loop wants to be woken.
    _wakes_for_signals: bool
    _signal_handlers: dict[int, tuple[Callable[..., object], tuple[Any, ...], Context]]

    def __init__(self) -> None:
        self._signal_pipe = None
        self._wakes_for_signals = False
        self._signal_handlers = {}

    def _begin_wakeups(self) -> None:
        """Have signals wake the loop that is about to run, unless another descriptor is told of them.

        Does nothing in any thread but the main one, where no signal is handled. Raises OSError when no descriptor is
        left for the pipe.
        """
        if not in_main_thread():
            return
        _, end = self._open_signals()
        try:
            before = signal.set_wakeup_fd(end, warn_on_full_buffer=bool(self._signal_handlers))
        except ValueError:
            return  # The main thread of another interpreter than the main one.
        self._wakes_for_signals = before in (-1, end) or not self._give_wakeups(before)

    def _end_wakeups(self) -> None:
        """Let signals wake the loop no more, but for those that it has handlers for. The program may have set a
        descriptor of its own meanwhile, which stays."""
        if not self._wakes_for_signals:
            return
        self._wakes_for_signals = False
        if self._signal_handlers or self._signal_pipe is None:
            return
        now = signal.set_wakeup_fd(-1)
        if now not in (-1, self._signal_pipe[1]):
            self._give_wakeups(now)

    def _give_wakeups(self, descriptor: int) -> bool:
        """Give the signals back to a descriptor that isn't the loop's, also those that came in its absence.

        Return False when somebody has closed it.
        """
        try:
            # Whether the program wanted to be warned of a full buffer can't be asked.
            signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        except (ValueError, OSError):
            return False
        numbers = self._take_signals()
        if numbers:
            # Python's own signal handler goes on as well when nobody reads there.
            with contextlib.suppress(OSError):
                os.write(descriptor, numbers)
            self._call_handlers(numbers)
        return True

    def _forked(self) -> None:
        """In a child process that goes on with the loop: have a pipe of its own, for the old one is the parent's."""
        if self._signal_pipe is None:
            return
        self._close_pipe()
        _, end = self._open_signals()
        if self._signal_handlers or self._wakes_for_signals:
            signal.set_wakeup_fd(end)

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
        _, end = self._open_signals()
        try:
            # Refused in any thread but the main one, before a handler is changed.
            signal.set_wakeup_fd(end)
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from None
        if sig not in self._signal_handlers:
            self._read_signals()  # What came before is not for the new handler.
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
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            raise _uncatchable(sig, error) from None
        self._reset_wakeup()
        return True

    def _open_signals(self) -> tuple[int, int]:
        if self._signal_pipe is None:
            self._signal_pipe = reader, _ = os.pipe()
            for end in self._signal_pipe:
                os.set_blocking(end, False)
            self._add_reader(reader, self._read_signals)
            _ends.add(self._signal_pipe[1])
        return self._signal_pipe

    def _close_pipe(self) -> None:
        if self._signal_pipe is not None:
            self._remove_reader(self._signal_pipe[0])
            _ends.discard(self._signal_pipe[1])
            for end in self._signal_pipe:
                os.close(end)
            self._signal_pipe = None

    def _take_signals(self) -> bytes:
        """Return the numbers of the signals that came, oldest first."""
        try:
            return os.read(self._signal_pipe[0], 4096) if self._signal_pipe else b""
        except BlockingIOError:
            return b""

    def _read_signals(self) -> None:
        while numbers := self._take_signals():
            self._call_handlers(numbers)

    def _call_handlers(self, numbers: bytes) -> None:
        for number in numbers:
            # It may have none, and removed, it may still have come before.
            if number in self._signal_handlers:
                callback, args, context = self._signal_handlers[number]
                self.call_soon(callback, *args, context=context)

    def _reset_wakeup(self) -> None:
        if self._signal_handlers:
            return
        end = -1
        if self._wakes_for_signals and self._signal_pipe is not None:
            end = self._signal_pipe[1]
        try:
            signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        except (ValueError, OSError) as error:
            _logger.info("set_wakeup_fd(-1) failed: %s", error)

    def _close_signals(self) -> None:
        """Give every handled signal its default back and close the pipe.

        Raises ValueError in any thread but the main one, where signals can't be given back.
        """
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
            self._close_pipe()


def _check(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _uncatchable(sig: int, error: OSError) -> Exception:
    """What to raise for the `error` of setting a handler."""
    return RuntimeError(f"sig {sig} cannot be caught") if error.errno == errno.EINVAL else error
