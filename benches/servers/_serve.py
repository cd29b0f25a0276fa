"""Runs an echo server on the loop that the command line names."""

import argparse
import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benches.loops import FACTORIES, NO_LOOP, Names
from benches.operations import noop
from benches.say import say, say_not_implemented

HOUR = 3600.0
Start = Callable[[Names, socket.socket, ssl.SSLContext | None], Awaitable[object]]


def arguments() -> argparse.Namespace:
    """The command line of a server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=[NO_LOOP, *FACTORIES])
    parser.add_argument("--unix", metavar="PATH", help="listen there, not on a port")
    parser.add_argument("--timers", type=int, default=0, help="have so many that are never due")
    parser.add_argument("--certificate", help="serve TLS with the chain and key in this PEM file")
    parser.add_argument("--path", default="/", help=f"with {NO_LOOP}: what is requested")
    parser.add_argument("--seconds", type=float, default=1.0, help=f"with {NO_LOOP}: how long")
    return parser.parse_args()


def settle_allocator() -> None:
    """Does what a program of any size has done.

    glibc maps a block of 128 KiB or more anew each time, until the first such block that is freed
    raises that bound. The stdlib and aiofastnet receive into blocks of 256 KiB: in a process that
    has never freed a larger one each message costs them a mapping, several times the message
    itself. A program of any size has freed one; a benchmark has to.
    """
    bytes(4 * 1024 * 1024)


def listen(path: str | None = None) -> socket.socket:
    """A socket that listens on a free port of 127.0.0.1, or at `path`."""
    settle_allocator()
    if path:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
    else:
        # Without the protocol's number asyncio would not know that it may set TCP_NODELAY.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener


async def accept(
    factory: Callable[[], asyncio.BaseProtocol],
    listener: socket.socket,
    tls: ssl.SSLContext | None,
) -> object:
    """A server with a protocol a connection; streams have `start_server` and its like."""
    loop = asyncio.get_running_loop()
    if listener.family == socket.AF_UNIX:
        return await loop.create_unix_server(factory, sock=listener, ssl=tls)
    return await loop.create_server(factory, sock=listener, ssl=tls)


def serve(start: Start, listen: Callable[[str | None], socket.socket] = listen) -> None:
    """Serves until the process is stopped.

    `start(names, listener, tls)` begins to serve what `listen(path)` made; what it returns is kept alive.
    A `NotImplementedError`, from it or later from the loop, ends the process with a line that
    says so; whatever else goes wrong in a callback ends it with a traceback.
    """
    options = arguments()
    tls = None
    if options.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate)
    failures: list[BaseException] = []

    def fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failures.append(context.get("exception") or RuntimeError(context["message"]))
        loop.stop()

    try:
        loop = FACTORIES[options.loop]()
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(fail)
        names = Names(options.loop)
        listener = listen(options.unix)
        port = None if options.unix else listener.getsockname()[1]
        serving = loop.run_until_complete(start(names, listener, tls))
        for number in range(options.timers):
            loop.call_later(HOUR + number / 1_000, noop)
        say(port=port, uses=names.used)
        loop.run_forever()
        del serving
        raise failures[0]
    except NotImplementedError as error:
        say_not_implemented(error)
        sys.exit(1)
