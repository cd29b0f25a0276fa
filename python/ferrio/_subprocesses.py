"""Subprocesses: asyncio's own transport starts them, and here is found out how they end.

The end of a child is an event of the poller where the system has pidfds, and of a thread that waits for it where it has
none, or no descriptor is left for one. Neither takes a signal handler, so loops of all threads may have children.
"""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from asyncio import base_subprocess, unix_events
from typing import Any

from ._state import State

_logger = logging.getLogger("asyncio")
_SelectorEventLoop: Any = unix_events._UnixSelectorEventLoop

if sys.version_info < (3, 14):
    # These wait as ferrio does.
    _PLAIN_WATCHERS = unix_events.ThreadedChildWatcher, unix_events.PidfdChildWatcher

    def _has_own_watcher() -> bool:
        """Whether the program has set a child watcher of another kind, which shall wait then."""
        watcher = getattr(asyncio.get_event_loop_policy(), "_watcher", None)
        return watcher is not None and type(watcher) not in _PLAIN_WATCHERS
else:

    def _has_own_watcher() -> bool:
        """Return False: from Python 3.14 on there are no child watchers to set."""
        return False


class Subprocesses(State):
    """The native loop with what `subprocess_exec` and `subprocess_shell` need."""

    __slots__ = ()

    # The children that the poller watches, by their pidfds.
    _children: dict[int, base_subprocess.BaseSubprocessTransport]

    if sys.version_info < (3, 14):
        # What the stdlib's coroutine hands to a child watcher.
        _child_watcher_callback = _SelectorEventLoop._child_watcher_callback

    def __init__(self) -> None:
        self._children = {}

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start a child and return its transport, with its pipes connected; `kwargs` are those of Popen.

        Raises what Popen raises. Cancelled, the child is killed.
        """
        start = protocol, args, shell, stdin, stdout, stderr, bufsize
        if _has_own_watcher():
            make = _SelectorEventLoop._make_subprocess_transport
            return await make(self, *start, extra=extra, **kwargs)
        waiter = self.create_future()
        transport = unix_events._UnixSubprocessTransport(  # type: ignore[attr-defined]
            self, *start, waiter=waiter, extra=extra, **kwargs
        )
        try:
            self._watch_child(transport)
        except BaseException:
            # Nobody would tell of its end.
            transport.close()
            _reap(transport._proc)
            raise
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any) -> None:
        """Call the transport's `_process_exited` when its child has ended, also if it has already."""
        process = transport._proc
        pidfd = _open_pidfd(process.pid)
        if pidfd is not None:
            try:
                self._add_reader(pidfd, self._child_ended, pidfd, transport, process)
            except OSError:
                os.close(pidfd)
            else:
                self._children[pidfd] = transport
                return
        name = f"ferrio-waitpid-{process.pid}"
        waiting = threading.Thread(
            target=self._wait_in_thread, name=name, args=(transport, process), daemon=True
        )
        waiting.start()

    def _child_ended(self, pidfd: int, transport: Any, process: subprocess.Popen[bytes]) -> None:
        self._remove_reader(pidfd)
        del self._children[pidfd]
        os.close(pidfd)
        self._tell_of_end(transport, process)

    def _wait_in_thread(self, transport: Any, process: subprocess.Popen[bytes]) -> None:
        _wait(process)
        try:
            self.call_soon_threadsafe(self._tell_of_end, transport, process)
        except RuntimeError:
            _reap(process)
            _logger.warning("Loop %r that handles pid %r is closed", self, process.pid)

    def _tell_of_end(self, transport: Any, process: subprocess.Popen[bytes]) -> None:
        # As many turns later as with asyncio: what the child wrote last may be received before.
        if sys.version_info >= (3, 14):
            self._reap_and_tell(transport, process)
        elif sys.version_info >= (3, 12):
            self.call_soon(self._reap_and_tell, transport, process)
        else:
            self.call_soon(self.call_soon, self._reap_and_tell, transport, process)

    def _reap_and_tell(self, transport: Any, process: subprocess.Popen[bytes]) -> None:
        # In one step: from the first call on the number may be another process's, and the transport signals it up to
        # the second.
        transport._process_exited(_reap(process))

    def _close_children(self) -> None:
        """Stop to watch; the children live on."""
        while self._children:
            os.close(self._children.popitem()[0])


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a child, and leave it to be reaped where the system allows that."""
    if not hasattr(os, "waitid"):
        _reap(process)
        return
    pid = process.pid
    try:
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED:  # type: ignore[union-attr]
            # macOS tells of a child that is stopped, too, until somebody has asked for that.
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG)
    except ChildProcessError:
        pass  # somebody else has reaped it


def _reap(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a child. Return its exit code, negative for a signal, and 255 when somebody else has it."""
    # Once it is known, the number may be another process's.
    if process.returncode is None:
        try:
            _, status = os.waitpid(process.pid, 0)
        except ChildProcessError:
            # To be asked for its state is enough to make Popen take it, in any thread.
            if process.returncode is None:
                process.returncode = 255
                _logger.warning(
                    "child process pid %d exit status already read:  will report returncode 255",
                    process.pid,
                )
        else:
            process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode
