"""The way in: pausing, switching protocols, buffers of all kinds."""

from __future__ import annotations

import array
import asyncio
import contextvars
import socket
from typing import Any

import pytest

from tests.interpreter import BEFORE_REPAIRS

from .world import LOOPS, BufferedRecorder, Recorder, World, compare, names, play

both_kinds = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
MEGABYTE = 1024 * 1024


@both_kinds
@pytest.mark.parametrize("side", ["client", "server", "unix"])
def test_pause_and_resume(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        transport.pause_reading()
        transport.pause_reading()
        world.record("reading", transport.is_reading())
        await world.peer_writes(peer, b"while paused")
        await world.turns()
        await asyncio.sleep(0.002)
        world.record("resumed")
        transport.resume_reading()
        transport.resume_reading()
        world.record("reading", transport.is_reading())
        await world.until(lambda: world.received() == 12)
        await world.peer_writes(peer, b"and more")
        await world.until(lambda: world.received() == 20)

    events = compare(scenario)
    without = [event for event in events if event[0] != "get_buffer"]
    assert without[1:5] == [
        ("reading", False),
        ("resumed",),
        ("reading", True),
        ("data_received", b"while pausedand more"),
    ]


@both_kinds
def test_paused_from_the_beginning(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(
            lambda: kind(world, {"connection_made": lambda self: self.transport.pause_reading()})
        )
        await world.peer_writes(peer, b"early")
        await world.turns()
        world.record("reading", transport.is_reading())
        transport.resume_reading()
        await world.until(lambda: world.received() == 5)

    # A release without repairs reads on.
    events = play(LOOPS["ferrio"], scenario) if BEFORE_REPAIRS else compare(scenario)
    assert ("reading", False) in events
    assert ("data_received", b"early") in events


@both_kinds
def test_pausing_inside_a_callback_keeps_the_rest_for_later(kind: Any) -> None:
    """Each piece pauses, so that the pieces come one by one, and nothing is lost or read too early."""

    async def scenario(world: World) -> None:
        def received(self: Any, *args: Any) -> None:
            self.transport.pause_reading()
            world.record("paused")

        on = {"data_received": received, "buffer_updated": received}
        make = (
            (lambda: kind(world, on, size=5))
            if kind is BufferedRecorder
            else (lambda: kind(world, on))
        )
        transport, _, peer = await world.connect(make)
        for piece in (b"first", b"again", b"third"):
            await world.peer_writes(peer, piece)
            await world.until(lambda: not transport.is_reading())
            await world.turns()
            transport.resume_reading()
        await world.until_saw("paused", 3)

    events = compare(scenario)
    assert [event[1] for event in events if event[0] == "data_received"] == [
        b"first",
        b"again",
        b"third",
    ]


@both_kinds
def test_resuming_inside_a_callback(kind: Any) -> None:
    async def scenario(world: World) -> None:
        def received(self: Any, *args: Any) -> None:
            self.transport.pause_reading()
            self.transport.resume_reading()

        on = {"data_received": received, "buffer_updated": received}
        transport, _, peer = await world.connect(lambda: kind(world, on))
        writing = world.loop.create_task(world.peer_writes(peer, b"d" * MEGABYTE))
        await world.until(lambda: world.received() == MEGABYTE)
        await writing

    assert ("data_received", b"d" * MEGABYTE) in compare(scenario)


@both_kinds
def test_the_end_is_told_again_when_reading_is_resumed(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(
            lambda: kind(world, {"eof_received": lambda self: True})
        )
        peer.shutdown(socket.SHUT_WR)
        await world.until_saw("eof_received")
        transport.pause_reading()
        transport.resume_reading()
        await world.until_saw("eof_received", 2)

    compare(scenario)


@pytest.mark.parametrize("first", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("second", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("inside", [False, True])
def test_switching_protocols(first: Any, second: Any, inside: bool) -> None:
    async def scenario(world: World) -> None:
        other = second(world, name="second ")

        def switch(self: Any, *args: Any) -> None:
            other.transport = self.transport
            self.transport.set_protocol(other)
            world.record("switched", self.transport.get_protocol() is other)

        on = {"data_received": switch, "buffer_updated": switch} if inside else {}
        transport, protocol, peer = await world.connect(lambda: first(world, on))
        await world.peer_writes(peer, b"for the first")
        await world.until(lambda: world.received() == 13)
        if not inside:
            switch(protocol)
        await world.peer_writes(peer, b"for the second")
        await world.until(lambda: world.received() + world.received("second data_received") == 27)
        transport.write(b"x" * 8 * MEGABYTE)
        await world.peer_reads(peer, 8 * MEGABYTE)
        await world.until_saw("second resume_writing")
        peer.close()
        await world.until_saw("second connection_lost")

    events = compare(scenario)
    assert "second pause_writing" in names(events)
    assert "second eof_received" in names(events)
    assert "connection_lost" not in names(events)


@pytest.mark.parametrize("second", [Recorder, BufferedRecorder])
def test_switching_protocols_in_get_buffer(second: Any) -> None:
    """The bytes lie in the first protocol's buffer, and the second hears of them."""

    async def scenario(world: World) -> None:
        other = second(world, name="second ")
        transport, protocol, peer = await world.connect(
            lambda: BufferedRecorder(
                world, {"get_buffer": lambda self, hint: self.transport.set_protocol(other)}
            )
        )
        await world.peer_writes(peer, b"hello")
        if second is BufferedRecorder:
            await world.until(lambda: world.received() == 5)
            world.record("buffer", protocol.buffer[:5])
        else:
            await world.until_saw("second connection_lost")  # It has no buffer_updated.

    events = compare(scenario)
    assert ("buffer", b"hello") in events or "exception_handler" in names(events)


@pytest.mark.parametrize("protocol", [None, object(), "text"])
def test_odd_protocols(protocol: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        transport.set_protocol(protocol)
        await world.peer_writes(peer, b"hello")
        await world.until_saw("exception_handler")
        await world.turns()
        world.record("closing", transport.is_closing())

    assert "exception_handler" in names(compare(scenario))


def test_a_protocol_without_connection_made() -> None:
    async def scenario(world: World) -> None:
        ours, _ = world.pair()
        try:
            await world.loop.create_connection(lambda: object(), sock=ours)  # type: ignore[arg-type,type-var]
        finally:
            ours.close()

    assert compare(scenario)[0][0] == "raised"


def test_methods_are_looked_up_when_they_are_called() -> None:
    async def scenario(world: World) -> None:
        transport, protocol, peer = await world.connect(lambda: Recorder(world))
        protocol.data_received = lambda data: world.record("replaced", data)
        await world.peer_writes(peer, b"hello")
        await world.until_saw("replaced")

    assert ("replaced", b"hello") in compare(scenario)


class Exporter:
    """Has a length and no buffer."""

    def __len__(self) -> int:
        return 4


BUFFERS: dict[str, Any] = {
    "None": None,
    "empty": bytearray(),
    "empty view": memoryview(bytearray()),
    "bytes": b"1234",
    "str": "1234",
    "list": [1, 2],
    "int": 5,
    "no buffer": Exporter(),
    "read-only view": memoryview(b"1234"),
    "not contiguous": memoryview(bytearray(10))[::2],
    "released": None,
    "ints": array.array("i", [0] * 4),
    "view of ints": memoryview(array.array("i", [0] * 4)),
    "two dimensions": memoryview(bytearray(16)).cast("B", (4, 4)),
    "slice": memoryview(bytearray(100))[10:20],
    "one byte": bytearray(1),
}


@pytest.mark.parametrize("name", BUFFERS)
def test_odd_buffers(name: str) -> None:
    class Odd(asyncio.BufferedProtocol):
        def __init__(self, world: World) -> None:
            self.world = world

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.world.record("connection_made")

        def get_buffer(self, sizehint: int) -> Any:
            if name == "released":
                view = memoryview(bytearray(10))
                view.release()
                return view
            return BUFFERS[name]

        def buffer_updated(self, nbytes: int) -> None:
            data = memoryview(BUFFERS[name]).tobytes()[:nbytes]
            self.world.record("data_received", data)

        def connection_lost(self, exc: Exception | None) -> None:
            self.world.record("connection_lost", exc)

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Odd(world))
        await world.peer_writes(peer, b"hello")
        await world.until(lambda: world.received() == 5 or world.saw("connection_lost"))
        transport.abort()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    good = name in {"ints", "view of ints", "two dimensions", "slice", "one byte"}
    assert (("data_received", b"hello") in events) == good
    assert ("exception_handler" in names(events)) != good


def test_a_buffer_can_be_resized_between_the_reads() -> None:
    async def scenario(world: World) -> None:
        def grow(self: Any, *args: Any) -> None:
            self.buffer.extend(b"0" * 1000)  # BufferError while it is lent.

        transport, protocol, peer = await world.connect(
            lambda: BufferedRecorder(world, {"get_buffer": grow, "buffer_updated": grow}, size=1)
        )
        await world.peer_writes(peer, b"hello" * 1000)
        await world.until(lambda: world.received() == 5000)

    assert "exception_handler" not in names(compare(scenario))


@both_kinds
def test_contexts(kind: Any) -> None:
    """Which callback sees what another, or the caller, has set."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def scenario(world: World) -> None:
        def note(name: str) -> Any:
            def action(self: Any, *args: Any) -> None:
                world.record("context", name, variable.get())
                variable.set(name)

            return action

        callbacks = ["connection_made", "data_received", "eof_received", "connection_lost"]
        callbacks += ["pause_writing", "resume_writing", "buffer_updated"]
        variable.set("caller")
        transport, _, peer = await world.connect(
            lambda: kind(world, {name: note(name) for name in callbacks})
        )
        variable.set("later")
        await world.peer_writes(peer, b"one")
        await world.until(lambda: world.received() == 3)
        await world.peer_writes(peer, b"two")
        await world.until(lambda: world.received() == 6)
        transport.pause_reading()
        variable.set("who resumes")
        transport.resume_reading()
        await world.peer_writes(peer, b"three")
        await world.until(lambda: world.received() == 11)
        variable.set("who writes")
        transport.write(b"x" * 8 * MEGABYTE)
        variable.set("afterwards")
        await world.peer_reads(peer, 8 * MEGABYTE)
        await world.until_saw("resume_writing")
        peer.close()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert len([event for event in events if event[0] == "context"]) >= 8


@pytest.mark.parametrize("inline", [False, True])
@both_kinds
def test_what_comes_after_urgent_data(kind: Any, inline: bool) -> None:
    """A read stops before the urgent byte, whether or not it is part of the stream, and the rest is not forgotten."""

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, inline)
        for _ in range(3):
            transport.pause_reading()
            peer.send(b"before ")
            peer.send(b"!", socket.MSG_OOB)
            peer.send(b" after ")
            await world.turns()
            count = world.received()
            transport.resume_reading()
            await world.until(lambda count=count: world.received() >= count + 14 + inline)
        transport.abort()

    events = compare(scenario)
    assert ("data_received", (b"before ! after " if inline else b"before  after ") * 3) in events
