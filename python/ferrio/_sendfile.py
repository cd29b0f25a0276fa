"""Sending files: the kernel copies from the file to the socket.

Where it can't (the file is none, the connection is encrypted), asyncio's own `sendfile()` and `sock_sendfile()`, which
call these methods, read and write.
"""

import asyncio
import contextlib
import errno
import io
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from ._state import State

# On 32-bit systems more than 1 GiB at once would overflow.
_LARGEST_BLOCK = sys.maxsize // 2 + 1


class Sendfile(State):
    """The native loop with its half of `sendfile` and `sock_sendfile`."""

    __slots__ = ()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        """Send through a socket of the user's. Return how many bytes."""
        return await _send(sock, file, offset, count, lambda: self._sock_writable(sock))

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        """Send through a stream transport, which neither reads nor writes meanwhile. Return how many bytes."""
        resume_reading = transp.is_reading()
        transp.pause_reading()
        empty = transp._make_empty_waiter()
        try:
            await empty
            self._check_sendfile_params(transp._sock, file, offset, count)  # type: ignore[attr-defined]
            return await _send(transp._sock, file, offset, count, transp._room)
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()


async def _send(
    sock: socket.socket,
    file: Any,
    offset: int,
    count: int | None,
    room: Callable[[], Awaitable[None]],
) -> int:
    """Send `count` bytes of the file from `offset` on, or all. Return how many.

    The file's position is behind what was sent, also when that is nothing.

    Raises SendfileNotAvailableError before anything is sent, and the socket's OSError after.
    """
    try:
        fileno = file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    try:
        size = os.fstat(fileno).st_size
    except OSError:
        raise asyncio.SendfileNotAvailableError("not a regular file") from None
    if not (count or size):
        return 0
    sent = 0
    try:
        while (block := count - sent if count else size) > 0:
            try:
                block = os.sendfile(
                    sock.fileno(), fileno, offset + sent, min(block, _LARGEST_BLOCK)
                )
            except (BlockingIOError, InterruptedError):
                await room()
                continue
            except OSError as error:
                if not sent:
                    # Perhaps the file is of a kind that can't be sent: reading it will tell.
                    raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from None
                if error.errno == errno.ENOTCONN and type(error) is not ConnectionError:
                    # Closed in the middle: what other systems call it.
                    raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
                raise
            if not block:
                break
            sent += block
            # A quick peer would keep the loop from everything else.
            await asyncio.sleep(0)
        return sent
    finally:
        # What has no position (a pipe) couldn't be sent either, and that error says more.
        with contextlib.suppress(OSError):
            os.lseek(fileno, offset + sent, os.SEEK_SET)
