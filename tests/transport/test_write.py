"""The way out: what may be written, in which order it arrives, and when the protocol is told to wait."""

from __future__ import annotations

import array
import asyncio
import random
import select
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .world import LOOPS, BufferedRecorder, Recorder, World, compare, names, play

both_kinds = pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
sides = pytest.mark.parametrize("side", ["client", "server", "unix"])
MEGABYTE = 1024 * 1024


class Bytes(bytes):
    """A subclass."""


class Falsy(bytes):
    """Bytes that say that they are none."""

    def __bool__(self) -> bool:
        return False


WRITABLE: dict[str, Any] = {
    "bytes": b"hello",
    "subclass": Bytes(b"hello"),
    "falsy": Falsy(b"hello"),
    "bytearray": bytearray(b"hello"),
    "view": memoryview(b"hello"),
    "slice": memoryview(b"--hello--")[2:7],
    "read-only view": memoryview(bytearray(b"hello")).toreadonly(),
    "ints": memoryview(array.array("i", [1, 2, 3])),
    "two dimensions": memoryview(bytearray(range(16))).cast("B", (4, 4)),
    "empty": b"",
    "empty bytearray": bytearray(),
    "empty view": memoryview(b""),
    "large": b"0123456789" * 20000,
    "large bytearray": bytearray(b"0123456789" * 20000),
}


@sides
@pytest.mark.parametrize("name", WRITABLE)
def test_what_may_be_written(side: str, name: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world), side)
        transport.write(WRITABLE[name])
        transport.write(WRITABLE[name])
        transport.write(b"|")
        transport.close()
        world.record("peer", await world.peer_reads(peer))

    data = b"" if name == "falsy" else bytes(WRITABLE[name])
    assert ("peer", data * 2 + b"|") in compare(scenario)


WRONG: dict[str, Any] = {
    "str": "hello",
    "int": 5,
    "None": None,
    "list": [104],
    "array": array.array("b", b"hello"),
    "falsy": 0,
    "empty str": "",
    "not contiguous": memoryview(b"hello")[::2],
}
if sys.version_info >= (3, 12):  # Before, asyncio stumbles over it after it has been sent.
    WRONG["no dimension"] = memoryview(b"h").cast("B", ())


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("state", ["open", "closing", "closed"])
def test_what_may_not_be_written(name: str, state: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        if state != "open":
            transport.close()
        if state == "closed":
            await world.until_saw("connection_lost")
        world.attempt("write", lambda: transport.write(WRONG[name]))
        await world.turns()
        world.record("closing", transport.is_closing())

    events = compare(scenario)
    assert "write" in names(events)


def test_data_that_changes_after_the_write_is_sent_as_it_was() -> None:
    """asyncio keeps a view of a bytearray since 3.12, and sends what it holds later: docs/differences.md."""

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        count = await world.fill(transport)
        data = bytearray(b"as it was")
        transport.write(data)
        view = memoryview(data)
        transport.write(view)
        transport.writelines([data, view])
        view.release()
        data[:] = b"something else"  # Not lent to the transport: it can be resized.
        transport.close()
        received = await world.peer_reads(peer)
        world.record("received", received[count:])

    events = play(LOOPS["ferrio"], scenario)
    assert ("received", b"as it was" * 4) in events


def test_part_of_a_view_of_ints() -> None:
    """asyncio takes the count of the bytes sent for one of items since 3.12: docs/differences.md."""
    data = array.array("i", range(2 * MEGABYTE))

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        transport.write(memoryview(data))
        world.record("size", transport.get_write_buffer_size() > 0)
        transport.close()
        received = await world.peer_reads(peer)
        world.record("equal", received == data.tobytes())

    events = play(LOOPS["ferrio"], scenario)
    assert ("size", True) in events
    assert ("equal", True) in events


def _lines(name: str) -> Any:
    def generate() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    return {
        "list": [b"one ", b"two"],
        "tuple": (b"one ", b"two"),
        "generator": generate(),
        "mixed": [bytearray(b"one "), memoryview(b"two"), Bytes(b" three")],
        "array": [array.array("b", b"one"), b"two"],
        "many": [b"x"] * 5000,
        "large": [b"x" * 100000] * 100,
        "empty": [],
        "None": None,
        "str": "text",
        "bytes": b"text",
        "strs": ["one", "two"],
        "int": 5,
        "one wrong": [b"one", "two"],
        # Not None, which the newest asyncio takes for an empty one.
        "one wrong of many": [b"one", 5],
        "not contiguous": [b"one", memoryview(b"abcdef")[::2]],
        "raises": (1 // 0 for _ in range(1)),
    }[name]


# asyncio keeps what comes before the wrong one there, and never sends anything again.
to_3_14 = pytest.mark.skipif(sys.version_info >= (3, 15), reason="nothing to compare with")


@sides
@pytest.mark.parametrize(
    "name",
    [
        "list",
        "tuple",
        "generator",
        "mixed",
        "array",
        "many",
        "large",
        "empty",
        "None",
        "str",
        "bytes",
        "strs",
        "int",
    ]
    + [pytest.param(name, marks=to_3_14) for name in ["one wrong", "one wrong of many", "raises"]],
)
def test_writelines(side: str, name: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world), side)
        # asyncio 3.12 and 3.13 leave the protocol alone in writelines, which later releases mend.
        transport.set_write_buffer_limits(1 << 40)
        transport.write(b"<")
        world.attempt("writelines", lambda: transport.writelines(_lines(name)))
        transport.write(b">")
        transport.write_eof()
        world.attempt("writelines", lambda: transport.writelines(_lines(name)))
        world.record("peer", await world.peer_reads(peer))

    events = compare(scenario)
    assert events[-4][0] == "peer" or ("peer_end",) in events
    if name == "many":
        assert ("peer", b"<" + b"x" * 5000 + b">") in events


@sides
def test_writelines_of_a_view_that_is_not_contiguous(side: str) -> None:
    """From 3.12 on it ends the connection, as it does in `write`."""

    async def scenario(world: World) -> None:
        transport, _, _ = await world.connect(lambda: Recorder(world), side)
        world.attempt("writelines", lambda: transport.writelines(_lines("not contiguous")))
        await world.turns()
        world.record("closing", transport.is_closing())

    assert ("closing", sys.version_info >= (3, 12)) in compare(scenario)


def test_writelines_of_nothing_but_empty_ones() -> None:
    """asyncio's loop spins on an empty buffer since 3.12: docs/differences.md."""

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        transport.writelines([b"", bytearray()])
        transport.writelines(iter([]))
        world.record("size", transport.get_write_buffer_size())
        transport.close()
        transport.writelines([b"late"])
        world.record("peer", await world.peer_reads(peer))

    events = play(LOOPS["ferrio"], scenario)
    assert events[1] == ("size", 0)
    assert ("peer", b"") in events


def test_writelines_tells_the_protocol_to_wait() -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        transport.writelines([b"x" * MEGABYTE] * 8)
        world.record("size", transport.get_write_buffer_size() > 0)
        data = await world.peer_reads(peer, 8 * MEGABYTE)
        world.record("count", len(data))
        await world.until_saw("resume_writing")

    events = play(LOOPS["ferrio"], scenario)
    assert events[1:3] == [("pause_writing",), ("size", True)]
    assert {("count", 8 * MEGABYTE), ("resume_writing",)} < set(events)


@both_kinds
@sides
@pytest.mark.parametrize("seed", range(3))
def test_writes_of_all_sizes_arrive_in_order(kind: Any, side: str, seed: int) -> None:
    async def scenario(world: World) -> None:
        dice = random.Random(seed)
        transport, _, peer = await world.connect(lambda: kind(world), side)
        sent = bytearray()

        def write(turn: int) -> None:
            for _ in range(dice.randrange(1, 6)):
                data = dice.randbytes(dice.choice([1, 10, 1000, 100000, 1000000]))
                sent.extend(data)
                way = dice.randrange(4)
                if way == 0:
                    transport.writelines([data[:7], b"", data[7:]])
                elif way == 1:
                    transport.write(bytearray(data))
                else:
                    transport.write(data)
            if turn:
                world.loop.call_soon(write, turn - 1)
            else:
                transport.close()

        write(10)
        received = await world.peer_reads(peer)
        world.record("equal", received == bytes(sent), len(sent))

    # When the protocol is paused depends on how fast the kernel is, so that the records are not compared.
    for loop in LOOPS.values():
        events = play(loop, scenario)
        assert [event[1] for event in events if event[0] == "equal"] == [True]


def test_who_wrote_several_times_in_a_turn_is_expected_to_do_so_again() -> None:
    """How much has left after each write; a list is a turn."""
    left: list[list[int]] = []

    async def scenario(world: World) -> None:
        # What is sent through a Unix socket is there at once.
        transport, _, peer = await world.connect(lambda: Recorder(world), "unix")
        for writes in (1, 2, 2, 1, 1, 3, 1):
            await asyncio.sleep(0)
            received = 0
            left.append([])
            for _ in range(writes):
                transport.write(b"x")
                if select.select([peer], [], [], 0)[0]:
                    received += len(peer.recv(100))
                left[-1].append(received)
            await world.peer_reads(peer, writes - received)

    compare(scenario)
    asyncios, ferrios = left[:7], left[7:]
    assert asyncios == [[1], [1, 2], [1, 2], [1], [1], [1, 2, 3], [1]]
    assert ferrios == [[1], [1, 1], [0, 0], [0], [1], [1, 1, 1], [0]]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_writes_while_the_loop_stands_still(count: int) -> None:
    """Outside of a turn there is no end of the turn to wait for."""
    for new_loop in LOOPS.values():
        loop = new_loop()
        world = World(loop)
        transport, _, peer = loop.run_until_complete(world.connect(lambda: Recorder(world)))
        for _ in range(count):
            transport.write(b"hello")
        assert transport.get_write_buffer_size() == 0
        assert select.select([peer], [], [], 5)[0]
        assert peer.recv(100) == b"hello" * count
        transport.write(b"x" * 8 * MEGABYTE)
        transport.write(b"y")
        data = loop.run_until_complete(world.peer_reads(peer, 8 * MEGABYTE + 1))
        assert data[-2:] == b"xy"
        world.close()
        loop.run_until_complete(world.turns())
        loop.close()


def test_what_is_written_before_an_exit_is_sent() -> None:
    for new_loop in LOOPS.values():
        loop = new_loop()
        world = World(loop)
        transports = [
            loop.run_until_complete(world.connect(lambda: Recorder(world))) for _ in range(3)
        ]

        def write_and_exit() -> None:
            for transport, _, _ in transports:
                transport.write(b"one ")
                transport.write(b"two")
            raise SystemExit

        loop.call_soon(write_and_exit)
        with pytest.raises(SystemExit):
            loop.run_forever()
        for _, _, peer in transports:
            assert select.select([peer], [], [], 5)[0]
            assert peer.recv(100) == b"one two"
        world.close()
        loop.run_until_complete(world.turns())
        loop.close()


LIMITS: list[tuple[dict[str, Any], Any]] = [
    ({}, None),
    ({"high": None, "low": None}, None),
    ({"high": 0}, None),
    ({"low": 0}, None),
    ({"high": 1024}, None),
    ({"high": 1023}, None),
    ({"low": 1024}, None),
    ({"high": 10, "low": 10}, None),
    ({"high": 10, "low": 0}, None),
    ({"high": 0, "low": 0}, None),
    ({"high": True}, None),
    ({"high": 1e6}, None),
    ({"low": 2.5}, None),
    ({"high": float("inf"), "low": 1}, None),
    ({"high": float("inf")}, ValueError),
    ({"high": 1 << 100, "low": 1 << 70}, None),
    ({"low": 1 << 100}, None),
    ({"high": 10, "low": 11}, ValueError),
    ({"high": -1}, ValueError),
    ({"low": -1}, ValueError),
    ({"high": 10, "low": -1}, ValueError),
    ({"high": -10, "low": -20}, ValueError),
    ({"high": float("nan")}, ValueError),
    ({"high": "a"}, TypeError),
    ({"low": "a"}, TypeError),
    ({"low": []}, TypeError),
    ({"high": 10, "low": "a"}, TypeError),
]


@pytest.mark.parametrize(("arguments", "error"), LIMITS, ids=str)
@pytest.mark.parametrize("by_position", [False, True])
def test_limits(arguments: dict[str, Any], error: Any, by_position: bool) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        world.record("limits", transport.get_write_buffer_limits())

        def call() -> None:
            if by_position:
                transport.set_write_buffer_limits(arguments.get("high"), arguments.get("low"))
            else:
                transport.set_write_buffer_limits(**arguments)

        world.attempt("call", call)
        world.record("limits", transport.get_write_buffer_limits())

    events = compare(scenario)
    assert (events[2][1] is None) == (error is None)
    if error is not None:
        assert events[2][1][0] == error.__name__


@both_kinds
@pytest.mark.parametrize(
    "limits", [None, {"high": 0}, {"high": 1}, {"high": 100, "low": 100}, {"high": 1e6}]
)
def test_flow_control(kind: Any, limits: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        if limits is not None:
            transport.set_write_buffer_limits(**limits)
        for _ in range(20):
            transport.write(b"small")  # The socket takes all of it.
        world.record("size", transport.get_write_buffer_size())
        transport.write(b"x" * 8 * MEGABYTE)
        world.record("blocked", transport.get_write_buffer_size() > 0)
        before = transport.get_write_buffer_size()
        transport.write(b"12345")
        world.record("more", transport.get_write_buffer_size() - before)
        await world.peer_reads(peer, 100 + 8 * MEGABYTE + 5)
        await world.until_saw("resume_writing")
        world.record("size", transport.get_write_buffer_size())

    events = compare(scenario)
    assert events[1:7] == [
        ("size", 0),
        ("pause_writing",),
        ("blocked", True),
        ("more", 5),
        ("resume_writing",),
        ("size", 0),
    ]


@both_kinds
def test_writing_in_resume_writing(kind: Any) -> None:
    async def scenario(world: World) -> None:
        rounds = iter(range(5))

        def more(self: Any) -> None:
            if next(rounds, None) is not None:
                self.transport.write(b"x" * 8 * MEGABYTE)
            else:
                self.transport.write(b"the ")
                self.transport.write(b"end")
                self.transport.write_eof()

        transport, _, peer = await world.connect(lambda: kind(world, {"resume_writing": more}))
        transport.write(b"x" * 8 * MEGABYTE)
        data = await world.peer_reads(peer)
        world.record("peer", len(data), data[-8:])

    events = compare(scenario)
    assert ("peer", 48 * MEGABYTE + 7, b"xthe end") in events
    assert names(events).count("resume_writing") == 6


@both_kinds
def test_limits_lowered_below_what_waits(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        transport.set_write_buffer_limits(1 << 40)
        transport.write(b"x" * 8 * MEGABYTE)
        world.record("high")
        transport.set_write_buffer_limits(1)
        world.record("low")
        await world.peer_reads(peer, 8 * MEGABYTE)
        await world.until_saw("resume_writing")
        transport.set_write_buffer_limits(0)
        world.record("none")

    events = compare(scenario)
    assert names(events)[1:6] == ["high", "pause_writing", "low", "resume_writing", "none"]


@both_kinds
@sides
def test_sixteen_megabytes_both_ways_with_a_slow_reader(kind: Any, side: str) -> None:
    size = 16 * MEGABYTE
    data = random.Random(1).randbytes(size)

    async def scenario(world: World) -> None:
        received = bytearray()

        def data_received(self: Any, piece: Any) -> None:
            if isinstance(piece, int):
                piece = self.buffer[:piece]
            received.extend(piece)
            self.transport.pause_reading()
            world.loop.call_soon(self.transport.resume_reading)
            if len(received) == size:
                world.record("received", received == data)

        class Slow(kind):  # type: ignore[misc]
            def data_received(self, piece: bytes) -> None:
                data_received(self, piece)

            def buffer_updated(self, nbytes: int) -> None:
                data_received(self, nbytes)

        transport, _, peer = await world.connect(lambda: Slow(world), side)
        transport.write(data)
        writing = world.loop.create_task(world.peer_writes(peer, data))
        back = await world.peer_reads(peer, size)
        world.record("back", back == data)
        await writing
        await world.until_saw("received")

    events = play(LOOPS["ferrio"], scenario)
    assert ("received", True) in events
    assert ("back", True) in events
    assert {"pause_writing", "resume_writing"} <= set(names(events))


def test_shutdown_of_a_connection_that_is_gone() -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world))
        transport.pause_reading()
        transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        peer.close()
        await asyncio.sleep(0.002)
        world.attempt("write_eof", transport.write_eof)
        world.attempt("write", lambda: transport.write(b"late"))

    compare(scenario)
