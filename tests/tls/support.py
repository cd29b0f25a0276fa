"""What the tests of TLS share: contexts, peers in threads, protocols that write a diary."""

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENGINES = ["openssl", "memory_bio"]

# Long enough for a machine that has much else to do. Nothing waits that long unless it hangs.
PATIENCE = 30


class Certificates:
    """The files of a certificate authority, and contexts that use them."""

    def __init__(self, folder: Path):
        self.folder = folder

    def server(self, name: str = "server", **attributes: Any) -> ssl.SSLContext:
        """A server's context with the certificate of that name, and the attributes set."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem")
        return _with(context, attributes)

    def client(self, trust: bool = True, **attributes: Any) -> ssl.SSLContext:
        """A client's context that trusts the authority, or nobody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if trust:
            context.load_verify_locations(self.folder / "authority.pem")
        return _with(context, attributes)


def _with(context: ssl.SSLContext, attributes: dict[str, Any]) -> ssl.SSLContext:
    for name, value in attributes.items():
        setattr(context, name, value)
    return context


TLS12 = {"maximum_version": ssl.TLSVersion.TLSv1_2}
TLS13 = {"minimum_version": ssl.TLSVersion.TLSv1_3}


def words(error: object) -> str:
    """An error as its type, its number and its message, without what differs from run to run."""
    if not isinstance(error, BaseException):
        return repr(error)
    text = re.sub(r"_ssl\.c:\d+", "_ssl.c", str(error))
    details = [
        f"{name}={getattr(error, name)!r}"
        for name in ("errno", "library", "reason", "verify_code", "verify_message")
        if hasattr(error, name)
    ]
    return f"{type(error).__name__}: {text} {details}"


class Diary(asyncio.Protocol):
    """Writes down what it is told, one line a call; bytes are joined: chance cuts them."""

    def __init__(self, lines: list[str] | None = None):
        self.lines: list[str] = [] if lines is None else lines
        self.received = bytearray()
        self.transport: Any = None
        self.made = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []

    def note(self, line: str) -> None:
        """Write a line down."""
        self.lines.append(line)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("connection_made")
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        assert data
        if not self.received:
            self.note("data_received")
        self.received += data
        for count, waiter in self._waiters:
            if len(self.received) >= count and not waiter.done():
                waiter.set_result(None)

    async def receive(self, count: int) -> bytes:
        """Wait until so many bytes have come."""
        if len(self.received) < count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((count, waiter))
            await asyncio.wait_for(waiter, PATIENCE)
        return bytes(self.received)

    def eof_received(self) -> bool | None:
        self.note("eof_received")
        self.ended.set_result(None)
        return None

    def pause_writing(self) -> None:
        self.note("pause_writing")

    def resume_writing(self) -> None:
        self.note("resume_writing")

    def connection_lost(self, error: Exception | None) -> None:
        self.note(f"connection_lost {words(error)}")
        self.lost.set_result(None)


class Log:
    """What a loop reports to its exception handler."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self.lines: list[str] = []
        loop.set_exception_handler(self._report)

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.lines.append(f"{context['message']}: {words(context.get('exception'))}")


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """Accept one connection in a thread and let `serve` have it. Raises what that raises."""
    failures: list[BaseException] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def run() -> None:
            try:
                connection, _ = listener.accept()
                connection.settimeout(PATIENCE)
                with connection:
                    serve(connection)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[:2]
        thread.join(PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def in_thread(work: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
    """Run blocking work in a thread; return the future of its result."""
    return asyncio.get_running_loop().run_in_executor(None, work, *args)


def receive_all(connection: socket.socket) -> bytes:
    """Read to the end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def run(loop: asyncio.AbstractEventLoop, main: Any, patience: float = 3 * PATIENCE) -> Any:
    """Run a coroutine to its end on a loop, then close the loop."""
    try:
        return loop.run_until_complete(asyncio.wait_for(main, patience))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
