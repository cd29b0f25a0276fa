"""Runs a scenario on one loop after the other and compares what happened.

A scenario is a coroutine function that takes a `World`: a loop, sockets to talk to it, and a record of what the
protocols saw, what went to the exception handler, what was logged, and which warnings were given. What differs from
run to run and from loop to loop (descriptors, ports, the transport's class) is written alike in the record.
"""

from __future__ import annotations

import asyncio
import difflib
import gc
import logging
import re
import socket
import struct
import warnings
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import ferrio

Event = tuple[Any, ...]
Scenario = Callable[["World"], Awaitable[Any]]
Action = Callable[..., Any]

# A scenario that takes longer hangs, in seconds: the slowest ones take one, if the machine has nothing else to do.
LIMIT = 60.0

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "ferrio": ferrio.new_event_loop,
}

_ALIKE = [
    (
        re.compile(r"ferrio\.(Stream|Datagram)Transport|_Selector(Socket|Datagram)Transport"),
        "Transport",
    ),
    (re.compile(r"ferrio\.ReadPipeTransport|_UnixReadPipeTransport"), "ReadPipe"),
    (re.compile(r"ferrio\.WritePipeTransport|_UnixWritePipeTransport"), "WritePipe"),
    (re.compile(r"ferrio\.SSLTransport|asyncio\.sslproto\._?SSLProtocol(Transport)?"), "TLS"),
    (re.compile(r"_ssl\.c:\d+"), "_ssl.c"),
    (re.compile(r"<(_UnixSelectorEventLoop|Loop) running="), "<Loop running="),
    (re.compile(r"handshake took [\d.]+ ms"), "handshake took N ms"),
    (re.compile(r"\b(fd|name|pid)=\d+"), r"\1=N"),
    (re.compile(r"\b(process|pid) '?\d+'?"), r"\1 N"),
    (re.compile(r"File descriptor \d+"), "File descriptor N"),
    (re.compile(r"\b(Read|Write) pipe \d+"), r"\1 pipe N"),
    (re.compile(r"port': \d+|, \d{4,5}(, 0, 0)?\)"), ", PORT)"),
    (re.compile(r" at 0x[0-9a-f]+"), ""),
    # The loop may be closed by then.
    (re.compile(r"(unclosed transport <Transport fd=N) .*"), r"\1>"),
    (re.compile(r"Exception in callback .*", re.DOTALL), "Exception in callback"),
]


def alike(value: Any) -> Any:
    """The value as the record has it: the same on every loop."""
    if isinstance(value, BaseExceptionGroup):
        return (type(value).__name__, str(value), *map(alike, value.exceptions))
    if isinstance(value, BaseException):
        return (type(value).__name__, getattr(value, "errno", None), alike(str(value)))
    if isinstance(value, str):
        for pattern, text in _ALIKE:
            value = pattern.sub(text, value)
        return value
    if isinstance(value, (list, tuple)):
        return tuple(map(alike, value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return alike(repr(value))


class World:
    """One loop, and what happened on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.events: list[Event] = []
        self.sockets: list[socket.socket] = []
        self.transports: list[asyncio.BaseTransport] = []
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        loop.set_exception_handler(self._on_exception)

    # --- the record

    def record(self, name: str, *args: Any) -> None:
        """Add an event. Neighbouring pieces of data are one: how they were cut is the kernel's affair."""
        if name in {"data_received", "peer"} and self.events and self.events[-1][0] == name:
            self.events[-1] = (name, self.events[-1][1] + bytes(args[0]))
        else:
            self.events.append((name, *map(alike, args)))
        for entry in self._waiting[:]:
            condition, future = entry
            if condition():
                self._waiting.remove(entry)
                if not future.done():
                    future.set_result(None)

    def attempt(self, name: str, action: Callable[[], Any]) -> None:
        """Record what the call returns or raises."""
        try:
            self.record(name, action())
        except Exception as error:
            self.record(name, error)

    def saw(self, name: str, count: int = 1) -> bool:
        """Whether that many such events are in the record."""
        return sum(event[0] == name for event in self.events) >= count

    def received(self, name: str = "data_received") -> int:
        """How many bytes the events of that name carry."""
        return sum(len(event[1]) for event in self.events if event[0] == name)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for events until the condition holds."""
        if not condition():
            future = self.loop.create_future()
            self._waiting.append((condition, future))
            await future

    async def until_saw(self, name: str, count: int = 1) -> None:
        """Wait until that many such events are in the record."""
        await self.until(lambda: self.saw(name, count))

    async def turns(self, count: int = 10) -> None:
        """Let the loop run what is due."""
        for _ in range(count):
            await asyncio.sleep(0)

    def _on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        message = alike(context["message"])
        keys = set(context) - {"message", "source_traceback"}
        if message == "Exception in callback":
            keys -= {"handle", "transport"}
        self.record("exception_handler", message, context.get("exception"), sorted(keys))

    # --- sockets

    def pair(self, kind: str = "tcp") -> tuple[socket.socket, socket.socket]:
        """Two connected sockets, over TCP or Unix."""
        if kind == "unix":
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname())
                ours, _ = listener.accept()
        bound(theirs)
        theirs.setblocking(False)
        ours.setblocking(False)
        self.sockets.append(theirs)
        return ours, theirs

    async def connect(
        self, factory: Callable[[], Any], side: str = "client"
    ) -> tuple[Any, Any, socket.socket]:
        """A transport, its protocol and its peer, a plain socket.

        The transport comes from `create_connection` (the sides "client" and "unix") or from a server ("server").
        """
        if side != "server":
            ours, peer = self.pair("unix" if side == "unix" else "tcp")
            transport, protocol = await self.loop.create_connection(factory, sock=ours)
            self.transports.append(transport)
            return transport, protocol, peer
        accepted = self.loop.create_future()

        def make() -> Any:
            protocol = factory()
            accepted.set_result(protocol)
            return protocol

        server = await self.loop.create_server(make, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        bound(peer)
        peer.setblocking(False)
        self.sockets.append(peer)
        protocol = await accepted
        await self.until_saw("connection_made")
        server.close()
        self.transports.append(protocol.transport)
        return protocol.transport, protocol, peer

    async def _ready(self, add: Any, remove: Any, sock: socket.socket) -> None:
        ready = self.loop.create_future()
        add(sock, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            remove(sock)

    async def peer_reads(self, peer: socket.socket, count: int | None = None) -> bytes:
        """Read `count` bytes, or to the end (also a reset), from a plain socket."""
        data = bytearray()
        while count is None or len(data) < count:
            try:
                piece = peer.recv(65536 if count is None else min(65536, count - len(data)))
            except BlockingIOError:
                await self._ready(self.loop.add_reader, self.loop.remove_reader, peer)
                continue
            except ConnectionResetError:
                self.record("peer_reset")
                break
            if not piece:
                self.record("peer_end")
                break
            data += piece
        return bytes(data)

    async def peer_writes(self, peer: socket.socket, data: bytes) -> None:
        """Write everything to a plain socket."""
        view = memoryview(data)
        while view:
            try:
                view = view[peer.send(view) :]
            except BlockingIOError:
                await self._ready(self.loop.add_writer, self.loop.remove_writer, peer)

    async def fill(self, transport: Any) -> int:
        """Write until the transport's socket takes no more and something waits. Return how much was written."""
        count = 0
        piece = b"f" * 65536
        while not transport.get_write_buffer_size():
            transport.write(piece)
            count += len(piece)
        return count

    def close(self) -> None:
        """Close what the scenario left open."""
        for transport in self.transports:
            if not transport.is_closing():
                transport.abort()  # type: ignore[attr-defined]
        for sock in self.sockets:
            sock.close()


def bound(sock: socket.socket) -> None:
    """Keep the system's own buffers below what tests write in order that some of it waits: left to itself, a
    connection whose peer reads lets them grow to tens of megabytes. And have small pieces leave at once."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def reset(sock: socket.socket) -> None:
    """Close a socket so that its peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class _Log(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG if world.loop.get_debug() else logging.WARNING)
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        self.world.record("log", record.levelname, record.getMessage().splitlines()[0])


def play(
    new_loop: Callable[[], asyncio.AbstractEventLoop], scenario: Scenario, debug: bool = False
) -> list[Event]:
    """Run the scenario on a new loop. Return the record."""
    gc.collect()  # What was left by a scenario before doesn't warn in this one's record.
    loop = new_loop()
    loop.set_debug(debug)
    loop.slow_callback_duration = (
        3600  # A busy machine makes any callback slow, and debug mode logs it.
    )
    world = World(loop)
    log = _Log(world)
    logger = logging.getLogger("asyncio")
    logger.addHandler(log)
    propagate, logger.propagate = logger.propagate, False
    level = logger.level
    logger.setLevel(log.level)
    try:
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            _run(loop, world, scenario)
            gc.collect()
        for warning in given:
            world.record("warning", warning.category.__name__, str(warning.message))
        return world.events
    finally:
        logger.removeHandler(log)
        logger.propagate = propagate
        logger.setLevel(level)


def _run(loop: asyncio.AbstractEventLoop, world: World, scenario: Scenario) -> None:
    async def main() -> None:
        try:
            result = await scenario(world)
            if result is not None:
                world.record("returned", result)
        except Exception as error:
            world.record("raised", error)

    try:
        task = loop.create_task(main())
        timer = loop.call_later(LIMIT, task.cancel)
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise AssertionError(f"hangs on {type(loop).__module__}: {world.events}") from None
        timer.cancel()
        world.close()
        loop.run_until_complete(world.turns())
    finally:
        loop.close()


def compare(
    scenario: Scenario,
    debug: bool = False,
    only_asyncio: Callable[[Event], bool] = lambda event: False,
    normal: Callable[[list[Event]], list[Event]] = lambda events: events,
    lost_race: Callable[[Event], bool] = lambda event: False,
) -> list[Event]:
    """Run the scenario on both loops, demand the same record, and return it.

    `only_asyncio` picks the events that are asyncio's own mistakes: docs/differences.md has them. `normal` brings the
    record into the form that is compared, without what is chance. After an event that `lost_race` picks, asyncio's
    record is worth nothing: it plays the scenario again.
    """
    expected = play(LOOPS["asyncio"], scenario, debug)
    while any(map(lost_race, expected)):
        expected = play(LOOPS["asyncio"], scenario, debug)
    expected = normal([event for event in expected if not only_asyncio(event)])
    actual = normal(play(LOOPS["ferrio"], scenario, debug))
    demand_same(expected, actual)
    return actual


def demand_same(expected: list[Event], actual: list[Event], name: str = "ferrio") -> None:
    """Raise AssertionError, with what is different, unless asyncio's record and that of `name` are equal."""
    if actual != expected:
        lines = difflib.unified_diff(_shown(expected), _shown(actual), "asyncio", name, lineterm="")
        raise AssertionError("the loops differ:\n" + "\n".join(lines))


def _shown(events: list[Event]) -> list[str]:
    return [text if len(text := repr(event)) < 300 else f"{text[:300]}..." for event in events]


class _Recording:
    """What the two recording protocols have in common."""

    transport: Any = None

    def __init__(self, world: World, on: dict[str, Action] | None = None, name: str = "") -> None:
        self.world = world
        self.on = on or {}
        self.prefix = name

    def _record(self, name: str, *args: Any) -> Any:
        self.world.record(self.prefix + name, *args)
        action = self.on.get(name)
        return action(self, *args) if action else None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._record("connection_made")

    def connection_lost(self, exc: Exception | None) -> None:
        self._record("connection_lost", exc)

    def pause_writing(self) -> None:
        self._record("pause_writing")

    def resume_writing(self) -> None:
        self._record("resume_writing")

    def eof_received(self) -> Any:
        return self._record("eof_received")


class Recorder(_Recording, asyncio.Protocol):
    """Records each callback, then does what `on` has under the callback's name, with itself and the arguments."""

    def data_received(self, data: bytes) -> None:
        self._record("data_received", data)


class BufferedRecorder(_Recording, asyncio.BufferedProtocol):
    """The same for a buffered protocol: its data is recorded as `data_received`."""

    def __init__(self, *args: Any, size: int = 65536, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = bytearray(size)
        self.asked = False

    def get_buffer(self, sizehint: int) -> Any:
        # Recorded once: how often there was nothing to read after all is no outcome.
        if not self.asked:
            self.asked = True
            self.world.record("get_buffer", sizehint)
        action = self.on.get("get_buffer")
        answer = action(self, sizehint) if action else None
        return self.buffer if answer is None else answer

    def buffer_updated(self, nbytes: int) -> None:
        self.world.record("data_received", bytes(self.buffer[:nbytes]))
        action = self.on.get("buffer_updated")
        if action:
            action(self, nbytes)


def names(events: Iterable[Event]) -> list[str]:
    """The events' names."""
    return [event[0] for event in events]
