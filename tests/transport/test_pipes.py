"""Pipe transports: both ends, of pipes, FIFOs, sockets and terminals, side by side with asyncio's."""

import asyncio
import gc
import logging
import os
import pty
import socket
import sys
import tempfile
import tty
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ferrio
import pytest

from tests.interpreter import BEFORE_REPAIRS

from .world import LOOPS, Event, Recorder, World, alike, compare, names, play, reset

# What a peer's end is: a plain descriptor, closed by the test.
Ends = tuple[Any, int]


def _fifo() -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fifo"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        return reader, os.open(path, os.O_WRONLY)


def _terminal() -> tuple[int, int]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    return master, slave


def _sockets() -> tuple[int, int]:
    left, right = socket.socketpair()
    return left.detach(), right.detach()


# Each returns what is read and what is written.
KINDS: dict[str, Callable[[], tuple[int, int]]] = {
    "pipe": os.pipe,
    "fifo": _fifo,
    "socket": _sockets,
    "terminal": _terminal,
}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_kind_that_tells = pytest.mark.parametrize("kind", ["pipe", "fifo", "socket"])


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    before = set(os.listdir("/dev/fd"))
    yield
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= len(before)


async def reading(world: World, kind: str, on: dict[str, Any] | None = None) -> Any:
    """A transport that reads, its protocol, and the descriptor to write to."""
    reader, writer = KINDS[kind]()
    file = os.fdopen(reader, "rb", 0)
    transport, protocol = await world.loop.connect_read_pipe(lambda: Recorder(world, on), file)
    return transport, protocol, writer


async def writing(world: World, kind: str, on: dict[str, Any] | None = None) -> Any:
    """A transport that writes, its protocol, and the descriptor to read from."""
    reader, writer = KINDS[kind]()
    os.set_blocking(reader, False)
    file = os.fdopen(writer, "wb", 0)
    transport, protocol = await world.loop.connect_write_pipe(lambda: Recorder(world, on), file)
    return transport, protocol, reader


async def read_all(world: World, fd: int, count: int | None = None) -> bytes:
    """What comes to a plain descriptor, `count` bytes of it or all to its end."""
    data = bytearray()
    while count is None or len(data) < count:
        try:
            piece = os.read(fd, 65536 if count is None else count - len(data))
        except BlockingIOError:
            await world._ready(world.loop.add_reader, world.loop.remove_reader, fd)  # type: ignore[arg-type]
            continue
        if not piece:
            break
        data += piece
    return bytes(data)


def fill(transport: Any) -> int:
    """Write until something waits; return how much was written."""
    count = 0
    while not transport.get_write_buffer_size():
        transport.write(b"f" * 4096)
        count += 4096
    return count


@every_kind
def test_read_to_the_end(kind: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, writer = await reading(world, kind)
        file = transport.get_extra_info("pipe")
        world.record("extra", type(file).__name__, transport.get_extra_info("nothing", 5))
        world.record("repr", repr(transport))
        for piece in [b"one", b"two" * 1000]:
            os.write(writer, piece)
            await world.until(lambda piece=piece: world.received() >= len(piece))
        os.close(writer)
        await world.until_saw("connection_lost")
        world.record("closed", file.closed, transport.is_closing())
        world.record("repr", repr(transport))
        world.record("loop", transport._loop, transport._protocol)
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert BEFORE_REPAIRS or not transport.is_reading()

    events = compare(scenario)
    # A terminal says by an error that its other end is gone.
    assert ("eof_received" in names(events)) == (kind != "terminal")


def judge(scenario: Any) -> list[Event]:
    """Compare what a paused transport does, unless asyncio's has no `is_reading()` and reads on after a pause in
    `connection_made`."""
    return play(LOOPS["ferrio"], scenario) if BEFORE_REPAIRS else compare(scenario)


@every_kind
def test_pause_and_resume_reading(kind: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, writer = await reading(world, kind)
        transport.pause_reading()
        transport.pause_reading()
        world.record("reading", transport.is_reading(), repr(transport))
        os.write(writer, b"late")
        await world.turns()
        world.record("nothing yet")
        transport.resume_reading()
        transport.resume_reading()
        world.record("reading", transport.is_reading(), repr(transport))
        await world.until_saw("data_received")
        transport.close()
        transport.resume_reading()
        await world.until_saw("connection_lost")
        os.close(writer)

    assert names(judge(scenario)) == [
        "connection_made",
        "reading",
        "nothing yet",
        "reading",
        "data_received",
        "connection_lost",
    ]


@pytest.mark.parametrize("action", ["close", "pause_reading"])
def test_read_transport_in_connection_made(action: str) -> None:
    async def scenario(world: World) -> None:
        on = {"connection_made": lambda protocol: getattr(protocol.transport, action)()}
        transport, _, writer = await reading(world, "pipe", on)
        if action == "pause_reading":
            os.write(writer, b"unread")
        await world.turns()
        transport.close()
        await world.until_saw("connection_lost")
        os.close(writer)

    assert judge(scenario) == [("connection_made",), ("connection_lost", None)]


@pytest.mark.parametrize("name", ["data_received", "eof_received", "connection_lost"])
@pytest.mark.parametrize("error", [ValueError, OSError])
def test_read_callback_raises(name: str, error: type[Exception]) -> None:
    async def scenario(world: World) -> None:
        def fail(*args: Any) -> None:
            raise error("on purpose")

        transport, _, writer = await reading(world, "pipe", {name: fail})
        for _ in range(2):
            os.write(writer, b"data")
            seen = world.received()
            await world.until(lambda seen=seen: world.received() > seen)
        os.close(writer)
        await world.until_saw("connection_lost")
        await world.turns()
        world.record("pipe", transport._pipe)

    events = compare(scenario)
    assert "exception_handler" in names(events)


def test_read_error() -> None:
    async def scenario(world: World) -> None:
        ours, peer = world.pair()
        await world.loop.connect_read_pipe(lambda: Recorder(world), ours)
        reset(peer)
        await world.until_saw("connection_lost")

    assert "exception_handler" in names(compare(scenario))


@every_kind
def test_write(kind: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, kind)
        world.record("repr", repr(transport), transport.can_write_eof())
        buffer = bytearray(b"array ")
        for data in [b"bytes ", buffer, memoryview(b"view "), b"", bytearray()]:
            transport.write(data)
        transport.writelines([b"li", bytearray(b"nes")])
        world.record("peer", await read_all(world, reader, len(b"bytes array view lines")))
        for wrong in ["text", 5, None]:
            world.attempt("wrong", lambda wrong=wrong: transport.write(wrong))
        transport.close()
        await world.until_saw("connection_lost")
        world.record("repr", repr(transport), transport.is_closing())
        transport.close()
        transport.write_eof()
        os.close(reader)

    compare(scenario)


@every_kind_that_tells
def test_flow_control(kind: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, kind)
        transport.set_write_buffer_limits(high=1000, low=10)
        world.record("limits", transport.get_write_buffer_limits())
        count = fill(transport)
        rest = bytearray(b"changed later")
        transport.write(rest)
        rest[:] = b"C" * len(rest)
        world.record("paused", world.saw("pause_writing"))
        got = await read_all(world, reader, count + len(rest))
        await world.until_saw("resume_writing")
        world.record("got", got[-13:], set(got[:count]) == {ord("f")})
        transport.close()
        await world.until_saw("connection_lost")
        os.close(reader)

    compare(scenario)


@every_kind_that_tells
@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_close_with_a_full_buffer(kind: str, how: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, kind)
        count = fill(transport)
        getattr(transport, how)()
        world.record("closing", transport.is_closing())
        for _ in range(7):
            transport.write(b"too late")
        got = await read_all(world, reader)
        world.record("all", len(got) == count)
        await world.until_saw("connection_lost")
        os.close(reader)

    assert "log" in names(compare(scenario))


@pytest.mark.parametrize("how", ["close", "write_eof"])
def test_the_end_in_resume_writing_after_one_more_write(how: str) -> None:
    """All of it is sent, and then the pipe ends. asyncio ends first, and drops it."""

    def write_and_end(protocol: Any) -> None:
        if not protocol.transport.is_closing():
            protocol.transport.write(b"l" * 300_000)
            getattr(protocol.transport, how)()

    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, "pipe", {"resume_writing": write_and_end})
        transport.set_write_buffer_limits(high=1000)
        count = fill(transport)
        got = await read_all(world, reader)
        world.record("got", len(got) - count)
        await world.until_saw("connection_lost")
        os.close(reader)

    events = play(LOOPS["ferrio"], scenario)
    assert ("got", 300_000) in events
    assert names(events).count("connection_lost") == 1


def test_abort_drops_the_buffer() -> None:
    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, "pipe")
        count = fill(transport)
        transport.abort()
        world.record("size", transport.get_write_buffer_size())
        await world.until_saw("connection_lost")
        world.record("less", len(await read_all(world, reader)) < count)
        os.close(reader)

    compare(scenario)


@every_kind_that_tells
@pytest.mark.parametrize("full", [False, True])
def test_peer_closes(kind: str, full: bool) -> None:
    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, kind)
        if full:
            fill(transport)
        os.close(reader)
        await world.until_saw("connection_lost")
        transport.write(b"into the void")

    compare(scenario)


@every_kind_that_tells
def test_write_before_the_peers_end_is_seen(kind: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, kind)
        os.close(reader)
        for _ in range(8):
            transport.write(b"into the void")
        await world.until_saw("connection_lost")

    assert "log" in names(compare(scenario))


def test_write_transport_closed_in_connection_made() -> None:
    async def scenario(world: World) -> None:
        on = {"connection_made": lambda protocol: protocol.transport.close()}
        _, _, reader = await writing(world, "pipe", on)
        await world.until_saw("connection_lost")
        world.record("peer", await read_all(world, reader))
        os.close(reader)

    compare(scenario)


def test_a_pipe_that_is_full_wakes_nobody_when_it_is_empty_again() -> None:
    """The descriptor is watched for writing only while something waits."""

    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, "pipe")
        count = fill(transport)
        world.record("repr", "polling" in repr(transport))
        await read_all(world, reader, count)
        await world.until(lambda: True)
        while transport.get_write_buffer_size():
            await asyncio.sleep(0)
        world.record("repr", repr(transport))
        transport.close()
        await world.until_saw("connection_lost")
        os.close(reader)

    compare(scenario)


def test_after_close_abort_ends_once() -> None:
    """asyncio calls connection_lost a second time, on nothing."""

    async def scenario(world: World) -> None:
        transport, _, reader = await writing(world, "pipe")
        transport.close()
        transport.abort()
        transport.abort()
        await world.turns()
        os.close(reader)

    assert play(LOOPS["ferrio"], scenario) == [("connection_made",), ("connection_lost", None)]


@pytest.mark.parametrize("direction", ["read", "write"])
@pytest.mark.parametrize("what", ["file", "folder", "closed", "number"])
def test_refused(direction: str, what: str) -> None:
    async def scenario(world: World) -> None:
        with tempfile.TemporaryDirectory() as folder:
            fd = os.open(folder, os.O_RDONLY) if what == "folder" else -1
            file: Any = tempfile.TemporaryFile()  # noqa: SIM115
            if what == "folder":
                file.close()
                file = os.fdopen(os.dup(1), "wb", 0)
                os.dup2(fd, file.fileno())
                os.close(fd)
            elif what == "closed":
                file.close()
            connect: Any = getattr(world.loop, f"connect_{direction}_pipe")
            given = 5 if what == "number" else file
            try:
                await connect(lambda: Recorder(world), given)
            except (ValueError, AttributeError) as error:
                world.record("raised", error)
            file.close()

    assert "raised" in names(compare(scenario))


def test_devnull() -> None:
    async def scenario(world: World) -> None:
        file = os.fdopen(os.open(os.devnull, os.O_WRONLY), "wb", 0)
        transport, _ = await world.loop.connect_write_pipe(lambda: Recorder(world), file)
        transport.write(b"x" * 1000)
        transport.close()
        await world.until_saw("connection_lost")

    compare(scenario)


def test_both_directions_of_one_terminal() -> None:
    async def scenario(world: World) -> None:
        master, slave = _terminal()
        file = os.fdopen(master, "r+b", 0)
        reader, _ = await world.loop.connect_read_pipe(lambda: Recorder(world, name="in_"), file)
        writer, _ = await world.loop.connect_write_pipe(lambda: Recorder(world, name="out_"), file)
        os.write(slave, b"from the other side")
        await world.until_saw("in_data_received")
        writer.write(b"to the other side")
        os.set_blocking(slave, False)
        world.record("peer", await read_all(world, slave, len(b"to the other side")))
        writer.close()
        await world.until_saw("out_connection_lost")
        reader.close()
        await world.until_saw("in_connection_lost")
        os.close(slave)

    compare(scenario)


def test_change_of_protocol() -> None:
    async def scenario(world: World) -> None:
        transport, protocol, writer = await reading(world, "pipe")
        second = Recorder(world, name="second_")
        world.record("first", transport.get_protocol() is protocol)
        transport.set_protocol(second)
        world.record("second", transport.get_protocol() is second)
        os.write(writer, b"data")
        os.close(writer)
        await world.until_saw("second_connection_lost")

    compare(scenario)


@pytest.mark.parametrize("direction", [reading, writing])
def test_unclosed(direction: Any) -> None:
    async def scenario(world: World) -> None:
        _, _, peer = await direction(world, "pipe")
        # Open until the transport is gone, which its end would close.
        peers.append(peer)

    peers: list[int] = []
    events = compare(scenario)
    assert any("unclosed transport" in str(event) for event in events)
    for peer in peers:
        os.close(peer)


def test_cancelled_while_connecting() -> None:
    async def scenario(world: World) -> None:
        reader, writer = os.pipe()
        file = os.fdopen(reader, "rb", 0)
        task = asyncio.ensure_future(world.loop.connect_read_pipe(lambda: Recorder(world), file))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await world.until_saw("connection_lost")
        world.record("closed", file.closed)
        os.close(writer)

    compare(scenario)


def test_what_debug_mode_logs(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        transport, _, writer = await reading(world, "pipe")
        transport.pause_reading()
        transport.resume_reading()
        os.close(writer)
        await world.until_saw("connection_lost")
        writing_end, _, reader = await writing(world, "pipe")
        os.close(reader)
        writing_end.write(b"into the void")
        await world.until_saw("connection_lost", 2)

    logged = {}
    for name, make_loop in LOOPS.items():
        caplog.clear()
        with caplog.at_level(logging.DEBUG, "asyncio"):
            logger = logging.getLogger("asyncio")
            logger.addHandler(caplog.handler)
            play(make_loop, scenario, debug=True)
            logger.removeHandler(caplog.handler)
        logged[name] = [
            (record.levelname, alike(record.getMessage()))
            for record in caplog.records
            if "Pipe" in alike(record.getMessage())
        ]
    assert logged["ferrio"] == logged["asyncio"]
    assert len(logged["ferrio"]) >= 4


def test_types() -> None:
    async def scenario(world: World) -> None:
        read, _, writer = await reading(world, "pipe")
        write, _, reader = await writing(world, "pipe")
        assert isinstance(read, asyncio.ReadTransport)
        assert not isinstance(read, asyncio.WriteTransport)
        assert isinstance(write, asyncio.Transport)
        for method in (write.pause_reading, write.resume_reading, write.is_reading):
            with pytest.raises(NotImplementedError):
                method()
        for transport in (read, write):
            assert weakref.ref(transport)() is transport
            transport.note = "any attribute"
            assert transport.__dict__ == {"note": "any attribute"}
            transport.close()
        await world.turns()
        os.close(reader)
        os.close(writer)

    play(LOOPS["ferrio"], scenario)


@pytest.mark.parametrize("reader_class", [asyncio.StreamReader, ferrio.StreamReader])
def test_a_reader_over_the_end_that_is_written_to_is_never_paused(reader_class: Any) -> None:
    """As who writes to the standard output through a `StreamReaderProtocol` has it."""

    async def scenario(world: World) -> None:
        write, _, peer = await writing(world, "pipe")
        reader = reader_class(limit=4, loop=world.loop)
        reader.set_transport(write)
        world.attempt("feed_data", lambda: reader.feed_data(b"0123456789"))
        world.record("read", await reader.readexactly(10))
        write.close()
        await world.turns()
        os.close(peer)

    assert ("read", b"0123456789") in compare(scenario)


def test_a_cycle_through_attributes_is_collected() -> None:
    async def scenario(world: World) -> weakref.ref[Any]:
        transport, _, writer = await reading(world, "pipe")
        transport.itself = transport
        transport.close()
        await world.until_saw("connection_lost")
        os.close(writer)
        gone.append(weakref.ref(transport))

    gone: list[weakref.ref[Any]] = []
    events = play(LOOPS["ferrio"], scenario)
    gc.collect()
    assert gone[0]() is None
    # It was closed, which the collector asks as well.
    assert names(events) == ["connection_made", "connection_lost"]


def test_no_leak_over_ten_thousand_pipes() -> None:
    async def rounds(count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            reader, writer = os.pipe()
            read, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(reader, "rb", 0))
            write, _ = await loop.connect_write_pipe(
                asyncio.BaseProtocol, os.fdopen(writer, "wb", 0)
            )
            write.write(b"data")
            write.close()
            while read._pipe is not None:  # type: ignore[attr-defined]
                await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=ferrio.new_event_loop) as runner:
        runner.run(rounds(200))
        gc.collect()
        descriptors, blocks = len(os.listdir("/dev/fd")), sys.getallocatedblocks()
        runner.run(rounds(10_000))
        gc.collect()
        assert len(os.listdir("/dev/fd")) == descriptors
        assert sys.getallocatedblocks() - blocks < 200


def test_more_descriptors_than_select_takes() -> None:
    """Descriptors are looked up by number, however high it is."""

    async def scenario(world: World) -> None:
        reader, writer = os.pipe()
        high = 1000
        os.dup2(reader, high)
        os.close(reader)
        file = os.fdopen(high, "rb", 0)
        transport, _ = await world.loop.connect_read_pipe(lambda: Recorder(world), file)
        os.write(writer, b"data")
        os.close(writer)
        await world.until_saw("connection_lost")
        assert transport.is_closing()

    compare(scenario)
