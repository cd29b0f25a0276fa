"""The types of the native half."""

import asyncio
import socket
import ssl
import sys
from asyncio import (
    _CoroutineLike,
    create_task as create_task,
    ensure_future as ensure_future,
    gather as gather,
    shield as shield,
    sleep as sleep,
    wait as wait,
    wait_for as wait_for,
)
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, final

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer
from typing_extensions import disjoint_base

__all__ = [
    "DatagramTransport",
    "Future",
    "Loop",
    "ReadPipeTransport",
    "SSLTransport",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamTransport",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "Timeout",
    "WritePipeTransport",
    "__version__",
    "best_tls_engine",
    "create_task",
    "ensure_future",
    "gather",
    "registered_tasks",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "track_origins",
    "wait",
]
if sys.version_info >= (3, 12):
    __all__ += ["wait_for"]

__version__: str

# Which engine new encrypted connections use: "openssl", "memory_bio", or None for the best that can be had.
_tls_engine: str | None

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Ts = TypeVarTuple("_Ts")

@disjoint_base
class Future(asyncio.Future[_T]): ...

# Both bases are classes with fields of their own, which Python code could not inherit from together.
@disjoint_base
class Task(Future[_T_co], asyncio.Task[_T_co]): ...  # type: ignore[misc, type-var]

class StreamReader(asyncio.StreamReader): ...
class StreamWriter(asyncio.StreamWriter): ...
class StreamReaderProtocol(asyncio.StreamReaderProtocol): ...

@final
class Timeout:
    def __init__(self, when: float | None) -> None: ...
    def when(self) -> float | None: ...
    def reschedule(self, when: float | None) -> None: ...
    def expired(self) -> bool: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None: ...

def timeout(delay: float | None) -> Timeout: ...
def timeout_at(when: float | None) -> Timeout: ...
@disjoint_base
class TaskGroup:
    def __init__(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        et: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...
    if sys.version_info >= (3, 14):
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: str | None = None,
            context: Context | None = None,
            **kwargs: Any,
        ) -> asyncio.Task[_T]: ...
    else:
        def create_task(
            self,
            coro: _CoroutineLike[_T],
            *,
            name: str | None = None,
            context: Context | None = None,
        ) -> asyncio.Task[_T]: ...
    if sys.version_info >= (3, 15):
        def cancel(self) -> None: ...

    def _on_task_done(self, task: asyncio.Task[object], /) -> None: ...

def registered_tasks() -> list[Task[Any]]: ...
def best_tls_engine() -> str: ...
def track_origins(enabled: bool) -> None: ...

@disjoint_base
class Loop:
    _debug: bool
    _closed: bool
    _stopping: bool
    _thread_id: int | None
    _task_factory: Any

    # It takes no arguments, but CPython shows every native class's initializer like this.
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    # The turns.
    def _run(self) -> None: ...
    def _send_gathered(self) -> None: ...
    def _close(self) -> None: ...
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def get_debug(self) -> bool: ...

    # What runs in them.
    def time(self) -> float: ...
    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def create_future(self) -> Future[Any]: ...
    def create_task(
        self,
        coro: _CoroutineLike[_T],
        *,
        name: object = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> asyncio.Task[_T]: ...

    # File descriptors.
    def add_reader(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[*_Ts], Any],
        *args: *_Ts,
    ) -> None: ...
    def add_writer(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[*_Ts], Any],
        *args: *_Ts,
    ) -> None: ...
    def remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    def _add_reader(
        self, fd: FileDescriptorLike, callback: Callable[..., object], /, *args: Any
    ) -> asyncio.Handle: ...
    def _add_writer(
        self, fd: FileDescriptorLike, callback: Callable[..., object], /, *args: Any
    ) -> asyncio.Handle: ...
    def _remove_reader(self, fd: FileDescriptorLike, /) -> bool: ...
    def _remove_writer(self, fd: FileDescriptorLike, /) -> bool: ...
    def _ensure_fd_no_transport(self, fd: FileDescriptorLike, /) -> None: ...

    # Sockets.
    def sock_recv(self, sock: socket.socket, nbytes: int) -> Coroutine[Any, Any, bytes]: ...
    def sock_recv_into(
        self, sock: socket.socket, buf: WriteableBuffer
    ) -> Coroutine[Any, Any, int]: ...
    def sock_recvfrom(
        self, sock: socket.socket, bufsize: int
    ) -> Coroutine[Any, Any, tuple[bytes, Any]]: ...
    def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> Coroutine[Any, Any, tuple[int, Any]]: ...
    def sock_sendall(
        self, sock: socket.socket, data: ReadableBuffer
    ) -> Coroutine[Any, Any, None]: ...
    def sock_sendto(
        self, sock: socket.socket, data: ReadableBuffer, address: Any
    ) -> Coroutine[Any, Any, int]: ...
    def sock_accept(
        self, sock: socket.socket
    ) -> Coroutine[Any, Any, tuple[socket.socket, Any]]: ...
    def _sock_writable(self, sock: socket.socket, /) -> Coroutine[Any, Any, None]: ...

    # Transports and servers.
    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        context: Context | None = None,
    ) -> StreamTransport: ...
    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport: ...
    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport: ...
    def _make_tls(
        self,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        ssl_object: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        handshake_timeout: float,
        shutdown_timeout: float,
        *,
        waiter: asyncio.Future[None] | None = None,
        accepted: bool = False,
        call_connection_made: bool = True,
    ) -> Any: ...
    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport: ...
    def _listen(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        server: asyncio.AbstractServer | None,
        backlog: int,
        context: Context | None,
    ) -> None: ...
    def _stop_serving(self, sock: socket.socket, /) -> None: ...

@final
class StreamTransport(asyncio.Transport):
    def write(self, data: ReadableBuffer) -> None: ...
    def writelines(self, list_of_data: Iterable[ReadableBuffer]) -> None: ...

@final
class ReadPipeTransport(asyncio.ReadTransport): ...

@final
class WritePipeTransport(asyncio.WriteTransport):
    def write(self, data: ReadableBuffer) -> None: ...

@final
class SSLTransport(asyncio.Transport):
    # It is also the protocol of the transport below.
    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def connection_lost(self, exc: BaseException | None, /) -> None: ...
    def data_received(self, data: ReadableBuffer, /) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def get_read_buffer_size(self) -> int: ...
    def write(self, data: ReadableBuffer) -> None: ...
    def writelines(self, list_of_data: Iterable[ReadableBuffer]) -> None: ...

@final
class DatagramTransport(asyncio.Transport, asyncio.DatagramTransport):
    def sendto(self, data: ReadableBuffer, addr: Any = None) -> None: ...
