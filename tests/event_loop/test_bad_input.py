"""Bad input: each call is made on asyncio's loop and on ferrio's, and both must answer the same.

A row is a call. Where it is made: `running` in a task of the loop, `stopped` before the loop runs, `closed` on a closed
loop, `thread` in another thread than the loop's.

What a method's wrong number of arguments is called differs: ferrio's methods say it as CPython's C functions do. There
only the type is compared.
"""

import asyncio
import functools
import math
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from .differential import LOOPS, trial

type_only = "type only"


@dataclass
class Row:
    """A call to compare."""

    name: str
    call: Callable[[Any], Any]
    where: str = "running"
    debug: bool = False
    compare: str = "all"
    # The first version of Python whose asyncio answers as it does today.
    since: tuple[int, int] = (3, 11)

    def __str__(self) -> str:
        return f"{self.where}{'+debug' if self.debug else ''}: {self.name}"


async def noop() -> None:
    pass


def unawaited(loop: Any) -> Any:
    """A coroutine function, called in `create_task` only where the loop must refuse it."""
    coro = noop()
    try:
        return loop.create_task(coro)
    finally:
        coro.close()


def tcp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


class Fileno:
    """An object with a `fileno()` that gives anything."""

    def __init__(self, number: object) -> None:
        self.number = number

    def fileno(self) -> Any:
        if isinstance(self.number, Exception):
            raise self.number
        return self.number

    def __repr__(self) -> str:
        return "<Fileno>"


def scheduling() -> list[Row]:
    rows = []
    for debug in (False, True):
        for name, call in {
            "call_soon of no callable": lambda loop: loop.call_soon(5) and None,
            "call_soon of a coroutine function": lambda loop: loop.call_soon(noop) and None,
            "call_soon_threadsafe of no callable": lambda loop: (
                loop.call_soon_threadsafe("x") and None
            ),
            "call_soon_threadsafe of a coroutine function": lambda loop: (
                loop.call_soon_threadsafe(noop) and None
            ),
            "call_later of no callable": lambda loop: loop.call_later(0, 5) and None,
            "call_later of a coroutine function": lambda loop: loop.call_later(0, noop) and None,
            "call_at of no callable": lambda loop: loop.call_at(0, []) and None,
            "call_at of a coroutine function": lambda loop: loop.call_at(0, noop) and None,
        }.items():
            # Not called, a coroutine function's coroutine would be warned of.
            if debug or "coroutine" not in name:
                rows.append(Row(name, call, debug=debug))
    rows += [
        Row("call_soon of a coroutine", lambda loop: _closing(loop.call_soon), debug=True),
        Row("call_soon with an unknown keyword", lambda loop: loop.call_soon(print, x=1)),
        Row("call_later with an unknown keyword", lambda loop: loop.call_later(0, print, x=1)),
        Row("call_at with an unknown keyword", lambda loop: loop.call_at(0, print, x=1)),
        Row("call_soon with a context of another type", _bad_context("call_soon")),
        Row("call_later with a context of another type", _bad_context("call_later", 0)),
        Row(
            "call_soon_threadsafe with a context of another type",
            _bad_context("call_soon_threadsafe"),
        ),
        Row("call_soon without a callback", lambda loop: loop.call_soon(), compare=type_only),
        Row("call_later without a callback", lambda loop: loop.call_later(1), compare=type_only),
        Row("call_later of nothing", lambda loop: loop.call_later(), compare=type_only),
        Row("call_at without a callback", lambda loop: loop.call_at(1), compare=type_only),
        Row("stop with an argument", lambda loop: loop.stop(1), compare=type_only),
        Row("time with an argument", lambda loop: loop.time(1), compare=type_only),
        Row("call_later with None", lambda loop: loop.call_later(None, print)),
        Row("call_at with None", lambda loop: loop.call_at(None, print)),
        Row("call_later with a string", lambda loop: loop.call_later("1", print)),
        Row("call_later with bytes", lambda loop: loop.call_later(b"1", print)),
        Row("call_later with a list", lambda loop: loop.call_later([1], print)),
        Row("call_later with a complex number", lambda loop: loop.call_later(object(), print)),
        Row("call_later with a Decimal", lambda loop: loop.call_later(Decimal(1), print)),
        Row("call_later with a Fraction", lambda loop: loop.call_later(Fraction(1), int).cancel()),
        Row("call_later with a bool", lambda loop: loop.call_later(True, int).cancel()),
        Row("call_later with an int beyond floats", lambda loop: loop.call_later(10**400, print)),
        Row("call_soon that raises", lambda loop: loop.call_soon(int, "x") and None),
        Row("call_soon that raises a BaseException", lambda loop: loop.call_soon(_raise) and None),
        Row("call_later that raises", lambda loop: loop.call_later(0, int, "x") and None),
    ]
    for name, arguments in {
        "call_soon": (print,),
        "call_later": (1, print),
        "call_at": (1, print),
        "call_soon_threadsafe": (print,),
    }.items():
        call = _method(name, *arguments)
        rows.append(Row(name, call, "closed"))
        if name != "call_soon_threadsafe":
            rows.append(Row(name, call, "thread", debug=True))
    return rows


def _method(name: str, *arguments: Any) -> Callable[[Any], Any]:
    return lambda loop: getattr(loop, name)(*arguments)


def _raise() -> None:
    raise asyncio.CancelledError("stop it")


def _closing(method: Callable[..., Any]) -> Any:
    coro = noop()
    try:
        return method(coro)
    finally:
        coro.close()


def _bad_context(name: str, *first: Any) -> Callable[[Any], Any]:
    return lambda loop: getattr(loop, name)(*first, print, context=5) and None


def life() -> list[Row]:
    return [
        Row("run_forever while running", lambda loop: loop.run_forever()),
        Row("run_until_complete while running", lambda loop: loop.run_until_complete(None)),
        Row("close while running", lambda loop: loop.close()),
        Row(
            "run_until_complete of no awaitable", lambda loop: loop.run_until_complete(5), "stopped"
        ),
        Row("run_until_complete of None", lambda loop: loop.run_until_complete(None), "stopped"),
        Row("run_until_complete stopped early", _stopped_early, "stopped"),
        Row("run_until_complete of another loop's future", _foreign_run, "stopped"),
        Row("run_forever", lambda loop: loop.run_forever(), "closed"),
        Row("run_until_complete", lambda loop: loop.run_until_complete(None), "closed"),
        Row("close", lambda loop: loop.close(), "closed"),
        Row("stop", lambda loop: loop.stop(), "closed"),
        Row("is_running", lambda loop: loop.is_running(), "closed"),
        Row("create_future", lambda loop: loop.create_future(), "closed"),
        Row("create_task", unawaited, "closed"),
        Row("repr", repr, "closed"),
        Row("repr", repr, "stopped"),
        Row("run another loop in a task", _run_another),
        Row("set_task_factory of no callable", lambda loop: loop.set_task_factory(5)),
        Row("set_exception_handler of no callable", lambda loop: loop.set_exception_handler("x")),
        Row("set_default_executor of no executor", lambda loop: loop.set_default_executor(5)),
        Row("run_in_executor of no callable", lambda loop: loop.run_in_executor(None, 5)),
        Row(
            "run_in_executor of no callable", lambda loop: loop.run_in_executor(None, 5), debug=True
        ),
        Row(
            "run_in_executor of a coroutine function",
            lambda loop: loop.run_in_executor(None, noop),
            debug=True,
        ),
        Row("run_in_executor with no executor", lambda loop: loop.run_in_executor(5, print)),
        Row("run_in_executor", lambda loop: loop.run_in_executor(None, print), "closed"),
        Row("run_in_executor that raises", lambda loop: loop.run_in_executor(None, int, "x")),
        Row("run_in_executor after the shutdown", _late_executor),
    ]


def _stopped_early(loop: Any) -> Any:
    loop.call_soon(loop.stop)
    return loop.run_until_complete(loop.create_future())


def _foreign_run(loop: Any) -> Any:
    other = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(other.create_future())
    finally:
        other.close()


def _run_another(loop: Any) -> Any:
    other = type(loop)()
    try:
        return other.run_until_complete(other.create_future())
    finally:
        other.close()


async def _late_executor(loop: Any) -> Any:
    await loop.shutdown_default_executor()
    return await loop.run_in_executor(None, print)


def tasks() -> list[Row]:
    return [
        Row("create_task of a number", lambda loop: loop.create_task(5)),
        Row("create_task of a function", lambda loop: loop.create_task(noop)),
        Row("create_task of a future", lambda loop: loop.create_task(loop.create_future())),
        # Whether the loop or the task refuses it has changed in a bugfix release of 3.13.
        Row("create_task with an unknown keyword", _task_with(nonsense=1), compare=type_only),
        Row("create_task of nothing", lambda loop: loop.create_task(), compare=type_only),
        Row("await a future of another loop", _await_foreign),
        Row("await a future twice done", _set_twice),
        Row("result of a pending future", lambda loop: loop.create_future().result()),
        Row("exception of a pending future", lambda loop: loop.create_future().exception()),
        Row("result of a cancelled future", _cancelled("result")),
        Row("exception of a cancelled future", _cancelled("exception")),
        Row("set_result of a cancelled future", _cancelled("set_result", 1)),
        Row("set_exception of a cancelled future", _cancelled("set_exception", ValueError())),
        Row("set_exception of no exception", lambda loop: loop.create_future().set_exception(5)),
        Row(
            "set_exception of another class",
            lambda loop: loop.create_future().set_exception(int),
        ),
        Row(
            "set_exception of StopIteration",
            lambda loop: loop.create_future().set_exception(StopIteration()),
        ),
        Row("set_result of a task", lambda loop: _task(loop).set_result(1)),
        Row("set_exception of a task", lambda loop: _task(loop).set_exception(ValueError())),
        Row("set_name of anything", _set_name),
        Row("add_done_callback of no callable", _bad_done_callback),
        Row("yield anything in a task", _yields(5)),
        Row("yield a future in a task", _yields(None, future=True)),
        Row("await the own task", lambda loop: asyncio.current_task(loop)),
        Row("cancel with any message", _cancel_with(5)),
        Row(
            "cancel with a keyword",
            lambda loop: loop.create_future().cancel(message=1),
            compare=type_only,
        ),
        Row("task that raises", _task_raises(ValueError("no"))),
        Row("exception never retrieved", _never_retrieved),
    ]


def _task_with(**keywords: Any) -> Callable[[Any], Any]:
    def call(loop: Any) -> Any:
        coro = noop()
        try:
            return loop.create_task(coro, **keywords)
        finally:
            coro.close()

    return call


async def _await_foreign(loop: Any) -> None:
    other = type(loop)()
    try:
        await other.create_future()
    finally:
        other.close()


def _set_twice(loop: Any) -> None:
    future = loop.create_future()
    future.set_result(1)
    future.set_result(2)


def _cancelled(method: str, *args: Any) -> Callable[[Any], Any]:
    def call(loop: Any) -> Any:
        future = loop.create_future()
        future.cancel("because")
        try:
            return getattr(future, method)(*args)
        except asyncio.CancelledError as error:
            return repr(error)

    return call


def _task(loop: Any) -> Any:
    return asyncio.current_task(loop)


def _set_name(loop: Any) -> Any:
    task = _task(loop)
    task.set_name(5)
    return task.get_name()


def _bad_done_callback(loop: Any) -> None:
    future = loop.create_future()
    future.add_done_callback(5)
    future.set_result(None)


class _Yields:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield self.value


def _yields(value: Any, future: bool = False) -> Callable[[Any], Any]:
    async def call(loop: Any) -> None:
        await _Yields(loop.create_future() if future else value)

    return lambda loop: loop.create_task(call(loop))


def _cancel_with(message: Any) -> Callable[[Any], Any]:
    async def call(loop: Any) -> Any:
        task = loop.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        task.cancel(message)
        try:
            await task
        except asyncio.CancelledError as error:
            return error.args

    return call


def _task_raises(error: Exception) -> Callable[[Any], Any]:
    async def call() -> None:
        raise error

    return lambda loop: loop.create_task(call())


async def _never_retrieved(loop: Any) -> None:
    future = loop.create_future()
    future.set_exception(ValueError("never retrieved"))


def descriptors() -> list[Row]:
    rows = []
    for name, first in {
        "add_reader": (print,),
        "add_writer": (print,),
        "remove_reader": (),
        "remove_writer": (),
    }.items():
        for what, make in {
            "a negative number": lambda: -1,
            "a string": lambda: "7",
            "None": lambda: None,
            "a float": lambda: 1.5,
            "a huge number": lambda: 2**70,
            "fileno() of a negative number": lambda: Fileno(-1),
            "fileno() of a string": lambda: Fileno("x"),
            "fileno() that raises": lambda: Fileno(ValueError("no")),
            "fileno() that raises another error": lambda: Fileno(KeyError("no")),
            "a closed descriptor": _closed_descriptor,
            "a closed socket": _closed_socket,
        }.items():
            rows.append(Row(f"{name} of {what}", _on(make, name, *first)))
        rows.append(Row(name, _on_socket(name, *first), "closed"))
        rows.append(Row(f"{name} of a regular file", _regular_file(name, first)))
        rows.append(Row(f"{name} of a transport's descriptor", _of_transport(name, first)))
        rows.append(
            Row(
                f"{name} of None",
                _method(name, None, *first),
                "closed",
            )
        )
    rows += [
        Row("add_reader without a callback", lambda loop: loop.add_reader(0), compare=type_only),
        Row("add_reader of no callable", _add_reader_of(5)),
        Row("add_reader that raises", _add_reader_of(int, "x")),
    ]
    return rows


def _closed_descriptor() -> int:
    with tcp() as sock:
        return sock.fileno()


def _closed_socket() -> socket.socket:
    sock = tcp()
    sock.close()
    return sock


def _on(make: Callable[[], Any], name: str, *arguments: Any) -> Callable[[Any], Any]:
    return lambda loop: getattr(loop, name)(make(), *arguments)


def _on_socket(name: str, *arguments: Any) -> Callable[[Any], Any]:
    def call(loop: Any) -> Any:
        with tcp() as sock:
            return getattr(loop, name)(sock.fileno(), *arguments)

    return call


def _regular_file(name: str, arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    def call(loop: Any) -> Any:
        with tempfile.TemporaryFile() as file:
            return getattr(loop, name)(file.fileno(), *arguments)

    return call


def _of_transport(name: str, arguments: tuple[Any, ...]) -> Callable[[Any], Any]:
    async def call(loop: Any) -> Any:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            try:
                getattr(loop, name)(transport.get_extra_info("socket").fileno(), *arguments)
            finally:
                transport.abort()

    return call


def _add_reader_of(*callback: Any) -> Callable[[Any], Any]:
    async def call(loop: Any) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reported = loop.create_future()
            handler = loop.get_exception_handler()

            def handle(loop: Any, context: Any) -> None:
                loop.remove_reader(ours)
                handler(loop, context)
                reported.set_result(None)

            loop.set_exception_handler(handle)
            theirs.send(b"x")
            loop.add_reader(ours, *callback)
            await reported

    return call


def signals() -> list[Row]:
    return [
        Row("add_signal_handler of no number", lambda loop: loop.add_signal_handler("2", print)),
        Row("add_signal_handler of 0", lambda loop: loop.add_signal_handler(0, print)),
        Row("add_signal_handler of 1000", lambda loop: loop.add_signal_handler(1000, print)),
        Row("add_signal_handler of SIGKILL", lambda loop: loop.add_signal_handler(9, print)),
        Row("add_signal_handler of a function", lambda loop: loop.add_signal_handler(10, noop)),
        Row(
            "add_signal_handler of a coroutine",
            lambda loop: _closing(lambda coro: loop.add_signal_handler(10, coro)),
        ),
        Row("add_signal_handler", lambda loop: loop.add_signal_handler(10, print), "closed"),
        Row("add_signal_handler", lambda loop: loop.add_signal_handler(10, print), "thread"),
        Row("remove_signal_handler of none", lambda loop: loop.remove_signal_handler(10)),
        Row("remove_signal_handler of no number", lambda loop: loop.remove_signal_handler(None)),
        Row("remove_signal_handler of 0", lambda loop: loop.remove_signal_handler(0)),
        Row("remove_signal_handler", lambda loop: loop.remove_signal_handler(10), "closed"),
    ]


def servers() -> list[Row]:
    on = {"host": "127.0.0.1", "port": 0}
    rows = [
        _server("without an address", host=None, port=None),
        _server("on a name that does not resolve", host="name.invalid", port=0),
        _server("on an address that is not here", host="192.0.2.1", port=0),
        _server("on a port beyond 65535", host="127.0.0.1", port=70000),
        _server("on a negative port", host="127.0.0.1", port=-1),
        _server("on a port of another type", host="127.0.0.1", port=[]),
        _server("on an unknown service", host="127.0.0.1", port="no-such-service"),
        _server("with ssl=True", **on, ssl=True),
        _server("with a handshake timeout and no TLS", **on, ssl_handshake_timeout=1),
        _server("with a shutdown timeout and no TLS", **on, ssl_shutdown_timeout=1),
        _server("with an unknown keyword", **on, nonsense=1),
        _server("with a backlog of another type", **on, backlog="x"),
        _server("with host and sock", host="127.0.0.1", port=0, sock=tcp),
        _server("on a datagram socket", sock=lambda: socket.socket(type=socket.SOCK_DGRAM)),
        _server("on a closed socket", sock=_closed_socket),
        Row("create_server on a port in use", _port_in_use),
        Row("create_server on a closed loop", _on_closed("create_server")),
        Row("start_serving of a closed server", _served("start_serving")),
        Row("serve_forever of a closed server", _served("serve_forever")),
        Row("serve_forever twice", _serve_twice),
        Row("wait_closed of a closed server", _served("wait_closed")),
        Row("sockets of a closed server", _sockets_of_closed),
    ]
    return rows


def _server(name: str, **keywords: Any) -> Row:
    async def call(loop: Any) -> None:
        given = dict(keywords)
        if callable(given.get("sock")):
            given["sock"] = given["sock"]()
        try:
            server = await loop.create_server(asyncio.Protocol, **given)
            server.close()
        finally:
            if "sock" in given:
                given["sock"].close()

    return Row(f"create_server {name}", call)


async def _port_in_use(loop: Any) -> None:
    with tcp() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        await loop.create_server(asyncio.Protocol, *taken.getsockname())


def _on_closed(method: str) -> Callable[[Any], Any]:
    async def call(loop: Any) -> None:
        other = type(loop)()
        other.close()
        await getattr(other, method)(asyncio.Protocol, *_free_address())

    return call


def _served(method: str) -> Callable[[Any], Any]:
    async def call(loop: Any) -> Any:
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        return await getattr(server, method)()

    return call


async def _serve_twice(loop: Any) -> None:
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    first = loop.create_task(server.serve_forever())
    await asyncio.sleep(0)
    try:
        await server.serve_forever()
    except RuntimeError as error:
        # The sockets' descriptors are in the message.
        raise RuntimeError(str(error).partition("<")[0]) from None
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def _sockets_of_closed(loop: Any) -> Any:
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    server.close()
    return server.sockets, server.is_serving(), repr(server)


def connections() -> list[Row]:
    return [
        _connection("without an address"),
        _connection("to a port without a listener", address=True),
        _connection("to a name that does not resolve", host="name.invalid", port=80),
        _connection("to an unknown service", host="127.0.0.1", port="no-such-service"),
        _connection("to a port beyond 65535", host="127.0.0.1", port=70000),
        _connection("to a port of another type", host="127.0.0.1", port=[]),
        _connection("with host and sock", host="127.0.0.1", port=1, sock=tcp),
        _connection("on a datagram socket", sock=lambda: socket.socket(type=socket.SOCK_DGRAM)),
        _connection("on a socket that is not connected", sock=tcp),
        _connection("with server_hostname and no TLS", host="h", port=1, server_hostname="h"),
        _connection(
            "with a handshake timeout and no TLS", host="h", port=1, ssl_handshake_timeout=1
        ),
        _connection("with a shutdown timeout and no TLS", host="h", port=1, ssl_shutdown_timeout=1),
        _connection("with an unknown keyword", host="127.0.0.1", port=1, nonsense=1),
        _connection("from an address that is not here", address=True, local_addr=("192.0.2.1", 0)),
        _connection(
            "from a name that does not resolve", address=True, local_addr=("name.invalid", 0)
        ),
        Row("create_connection to several ports without a listener", _several),
        Row("create_connection on a closed loop", _on_closed("create_connection")),
        Row("create_connection on a transport's socket", _connect_twice, since=(3, 12)),
        Row("create_connection with a factory that raises", _factory_raises),
        Row("create_connection with a factory of None", _factory_of_none),
        Row("sock_connect to a port without a listener", _sock_connect()),
        Row("sock_connect of an address of another type", _sock_connect(address=5)),
        Row("sock_connect of an address that is too short", _sock_connect(address=("127.0.0.1",))),
        Row(
            "sock_connect to a name that does not resolve",
            _sock_connect(address=("name.invalid", 1)),
        ),
        Row("sock_connect of a blocking socket", _sock_connect(blocking=True), debug=True),
        Row("sock_connect of a closed socket", _sock_connect(closed=True)),
        Row("sock_connect of an SSLSocket", _sock_connect(tls=True)),
        Row(
            "getaddrinfo of a name that does not resolve",
            lambda loop: loop.getaddrinfo("name.invalid", 1),
        ),
        Row("getaddrinfo of another type", lambda loop: loop.getaddrinfo(5, 1)),
        Row("getnameinfo of a name", lambda loop: loop.getnameinfo(("localhost.invalid", 1))),
        Row("getnameinfo of another type", lambda loop: loop.getnameinfo("x")),
    ]


@functools.cache
def _free_address() -> tuple[str, int]:
    """An address that nobody listens on, and nobody else gets to the end of the process."""
    sock = tcp()
    sock.bind(("127.0.0.1", 0))
    address: tuple[str, int] = sock.getsockname()
    sock.detach()
    return address


def _connection(name: str, address: bool = False, **keywords: Any) -> Row:
    async def call(loop: Any) -> None:
        given = dict(keywords)
        if address:
            given["host"], given["port"] = _free_address()
        if "sock" in given:
            given["sock"] = given["sock"]()
        try:
            transport, _ = await loop.create_connection(asyncio.Protocol, **given)
            transport.abort()
        finally:
            if "sock" in given:
                given["sock"].close()

    return Row(f"create_connection {name}", call)


async def _several(loop: Any) -> None:
    port = _free_address()[1]

    async def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{last}", port))
            for last in (1, 2)
        ]

    loop.getaddrinfo = getaddrinfo
    try:
        await loop.create_connection(asyncio.Protocol, "two.example", port)
    except OSError as error:
        raise OSError(str(error).replace(str(port), "…")) from None


async def _connect_twice(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        try:
            await loop.create_connection(asyncio.Protocol, sock=ours)
        except RuntimeError as error:
            raise RuntimeError(str(error).partition("<socket")[0]) from None
        finally:
            transport.abort()


async def _factory_raises(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await loop.create_connection(lambda: int("x"), sock=ours)


async def _factory_of_none(loop: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await loop.create_connection(lambda: None, sock=ours)


def _sock_connect(
    address: Any = None, blocking: bool = False, closed: bool = False, tls: bool = False
) -> Callable[[Any], Any]:
    async def call(loop: Any) -> None:
        with tcp() as sock:
            sock.setblocking(blocking)
            if closed:
                sock.close()
            if tls:
                context = ssl.create_default_context()
                context.check_hostname = False
                sock = context.wrap_socket(sock, do_handshake_on_connect=False)
            with sock:
                await loop.sock_connect(sock, _free_address() if address is None else address)

    return call


def transports() -> list[Row]:
    rows = [
        _transport("write of a string", lambda transport: transport.write("x")),
        _transport("write of None", lambda transport: transport.write(None)),
        _transport("write of a number", lambda transport: transport.write(5)),
        _transport("write of a keyword", lambda transport: transport.write(data=b"x")),
        _transport("writelines of a keyword", lambda t: t.writelines(list_of_data=[b"x"])),
        _transport("set_protocol of a keyword", lambda t: t.set_protocol(protocol=t)),
        _transport("write of an unknown keyword", lambda t: t.write(nonsense=b"x")),
        _transport("write of nothing at all", lambda t: t.write(), compare=type_only),
        _transport("write of a list", lambda transport: transport.write([b"x"])),
        _transport("write of nothing", lambda transport: transport.write(b"")),
        _transport("write after write_eof", lambda transport: _after_eof(transport, "write", b"x")),
        # Up to 3.11 writelines() is a write() of all.
        _transport(
            "writelines after write_eof",
            lambda t: _after_eof(t, "writelines", [b"x"]),
            since=(3, 12),
        ),
        _transport("write_eof twice", lambda transport: _after_eof(transport, "write_eof")),
        _transport("write after close", lambda transport: _after_close(transport, "write", b"x")),
        _transport("write_eof after close", lambda transport: _after_close(transport, "write_eof")),
        _transport("close twice", lambda transport: _after_close(transport, "close")),
        _transport("abort after close", lambda transport: _after_close(transport, "abort")),
        _transport("pause_reading twice", lambda transport: _twice(transport.pause_reading)),
        _transport("resume_reading twice", lambda transport: _twice(transport.resume_reading)),
        _transport("pause after close", lambda transport: _after_close(transport, "pause_reading")),
        _transport(
            "resume after close", lambda transport: _after_close(transport, "resume_reading")
        ),
        _transport("writelines of a number", lambda t: t.writelines(5), since=(3, 12)),
        _transport("limits of the wrong order", lambda t: t.set_write_buffer_limits(high=1, low=2)),
        _transport("negative limits", lambda t: t.set_write_buffer_limits(high=-1)),
        _transport("a negative low limit", lambda t: t.set_write_buffer_limits(low=-1)),
        _transport("an infinite limit", lambda t: t.set_write_buffer_limits(high=math.inf)),
        _transport("a limit of half a byte", lambda t: t.set_write_buffer_limits(2.5, 0.5)),
        _transport("limits of another type", lambda t: t.set_write_buffer_limits(high="x")),
        _transport("get_extra_info of nothing known", lambda t: t.get_extra_info("x", 7)),
        _transport("get_extra_info of a number", lambda t: t.get_extra_info(5)),
        _transport("get_extra_info", lambda t: t.get_extra_info(), compare=type_only),
        _transport("get_protocol", lambda t: type(t.get_protocol())),
    ]
    for method in ("connection_made", "data_received", "eof_received", "connection_lost"):
        for error in (ValueError("no"), OSError(5, "no")):
            name = f"{method} that raises {type(error).__name__}"
            rows.append(Row(name, _protocol_that(method, error)))
    rows += [
        Row("get_buffer that raises", _buffered(_raising)),
        Row("get_buffer of nothing", _buffered(lambda: bytearray())),
        Row("get_buffer of what can't be written to", _buffered(lambda: b"xxx")),
        Row("get_buffer of no buffer", _buffered(lambda: 5)),
        Row("buffer_updated that raises", _buffered(lambda: bytearray(10), updated=False)),
    ]
    return rows


def _transport(name: str, use: Callable[[Any], Any], **how: Any) -> Row:
    async def call(loop: Any) -> Any:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            try:
                return use(transport), transport.is_closing(), transport.is_reading()
            finally:
                transport.abort()

    return Row(f"transport: {name}", call, **how)


def _after_eof(transport: Any, method: str, *args: Any) -> Any:
    transport.write_eof()
    return getattr(transport, method)(*args)


def _after_close(transport: Any, method: str, *args: Any) -> Any:
    transport.close()
    return getattr(transport, method)(*args)


def _twice(method: Callable[[], Any]) -> Any:
    method()
    return method()


class _Failing(asyncio.Protocol):
    """A protocol one of whose methods raises, and which tells of its end."""

    def __init__(self, loop: Any, method: str, error: Exception) -> None:
        self.lost = loop.create_future()
        self.method = method
        self.error = error

    def _maybe(self, method: str) -> None:
        if method == self.method:
            raise self.error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._maybe("connection_made")

    def data_received(self, data: bytes) -> None:
        self._maybe("data_received")

    def eof_received(self) -> None:
        self._maybe("eof_received")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)
        self._maybe("connection_lost")


def _protocol_that(method: str, error: Exception) -> Callable[[Any], Any]:
    async def call(loop: Any) -> Any:
        ours, theirs = socket.socketpair()
        with theirs:
            protocol = _Failing(loop, method, error)
            await loop.create_connection(lambda: protocol, sock=ours)
            theirs.send(b"x")
            theirs.shutdown(socket.SHUT_WR)
            return await protocol.lost

    return call


def _raising() -> Any:
    raise ValueError("no buffer")


def _buffered(get_buffer: Callable[[], Any], updated: bool = True) -> Callable[[Any], Any]:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self, lost: Any) -> None:
            self.lost = lost

        def get_buffer(self, sizehint: int) -> Any:
            return get_buffer()

        def buffer_updated(self, nbytes: int) -> None:
            if not updated:
                raise ValueError("not updated")

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(exc)

    async def call(loop: Any) -> Any:
        ours, theirs = socket.socketpair()
        with theirs:
            lost = loop.create_future()
            await loop.create_connection(lambda: Buffered(lost), sock=ours)
            theirs.send(b"x")
            return await lost

    return call


TABLES = scheduling, life, tasks, descriptors, signals, servers, connections, transports
ROWS = [row for table in TABLES for row in table() if sys.version_info >= row.since]


def test_the_names_of_the_rows_are_all_different() -> None:
    assert len({str(row) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_ferrio_answers_bad_input_as_asyncio_does(row: Row) -> None:
    asyncio_s, ferrio_s = (
        trial(make_loop, row.where, row.call, row.debug) for make_loop in LOOPS.values()
    )
    if row.compare is type_only:
        asyncio_s, ferrio_s = (
            [line.partition(":")[0] for line in heard] for heard in (asyncio_s, ferrio_s)
        )
    assert ferrio_s == asyncio_s
    assert asyncio_s, "nothing was heard"
