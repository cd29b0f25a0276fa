"""`create_subprocess_exec` and `create_subprocess_shell`: asyncio's processes with ferrio's streams on their pipes."""

import asyncio
import asyncio.subprocess
from typing import IO, Any

# This one's attributes are what asyncio.subprocess.Process works with.
_Protocol: Any = asyncio.subprocess.SubprocessStreamProtocol

_LIMIT = 2**16  # bytes, asyncio's default


class SubprocessStreamProtocol(_Protocol):  # type: ignore[misc]
    """`asyncio.subprocess.SubprocessStreamProtocol` that makes ferrio's readers and writers."""

    def connection_made(self, transport: asyncio.SubprocessTransport) -> None:
        """Put streams on those of the three pipes that the transport has."""
        # Not above: this module is imported while the package is being made.
        from . import StreamWriter

        self._transport = transport
        self.stdout = self._reader(transport, 1)
        self.stderr = self._reader(transport, 2)
        stdin: Any = transport.get_pipe_transport(0)
        if stdin is not None:
            self.stdin = StreamWriter(stdin, protocol=self, reader=None, loop=self._loop)

    def _reader(
        self, transport: asyncio.SubprocessTransport, fd: int
    ) -> asyncio.StreamReader | None:
        from . import StreamReader

        pipe: Any = transport.get_pipe_transport(fd)
        if pipe is None:
            return None
        reader = StreamReader(limit=self._limit, loop=self._loop)
        reader.set_transport(pipe)
        self._pipe_fds.append(fd)
        return reader


async def create_subprocess_shell(
    cmd: str | bytes,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    limit: int = _LIMIT,
    **kwds: Any,
) -> asyncio.subprocess.Process:
    """Run a command in a shell: `asyncio.create_subprocess_shell`.

    `limit` is the readers' in bytes, `kwds` go to `subprocess.Popen`. Returns the process, raises what Popen raises.
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_shell(
        lambda: SubprocessStreamProtocol(limit=limit, loop=loop),
        cmd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        **kwds,
    )
    return asyncio.subprocess.Process(transport, protocol, loop)


async def create_subprocess_exec(
    program: str | bytes,
    *args: str | bytes,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    limit: int = _LIMIT,
    **kwds: Any,
) -> asyncio.subprocess.Process:
    """Run a program: `asyncio.create_subprocess_exec`.

    `limit` is the readers' in bytes, `kwds` go to `subprocess.Popen`. Returns the process, raises what Popen raises.
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: SubprocessStreamProtocol(limit=limit, loop=loop),
        program,
        *args,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        **kwds,
    )
    return asyncio.subprocess.Process(transport, protocol, loop)
