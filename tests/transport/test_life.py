"""From `connection_made` to `connection_lost`: every way in which a connection ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.interpreter import BEFORE_REPAIRS

from .world import LOOPS, BufferedRecorder, Event, Recorder, World, compare, names, reset

SIDES = ["client", "server", "unix"]
KINDS = [Recorder, BufferedRecorder]
BIG = 4 * 1024 * 1024

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("keep_open", [None, False, True, 1, "yes", ""])
def test_end_of_stream(kind: Any, side: str, keep_open: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(
            lambda: kind(world, {"eof_received": lambda self: keep_open}), side
        )
        await world.peer_writes(peer, b"last words")
        peer.shutdown(socket.SHUT_WR)
        await world.until_saw("eof_received")
        await world.turns()
        world.record("state", transport.is_closing(), transport.is_reading())
        if keep_open:
            transport.write(b"answer")
            transport.close()
        world.record("peer", await world.peer_reads(peer))
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("data_received", b"last words") in events
    assert events[-1][0] in {"connection_lost", "peer_end", "peer"}
    assert ("peer", b"answer" if keep_open else b"") in events


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_half_close_from_our_side(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        transport.write(b"question")
        transport.write(b", and more")
        transport.write_eof()
        transport.write_eof()
        world.attempt("write", lambda: transport.write(b"late"))
        world.attempt("write", lambda: transport.write(b""))
        world.attempt("writelines", lambda: transport.writelines([b"late"]))
        world.record("closing", transport.is_closing(), transport.can_write_eof())
        world.record("peer", await world.peer_reads(peer))
        await world.peer_writes(peer, b"answer")
        peer.close()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("peer", b"question, and more") in events
    assert ("data_received", b"answer") in events
    assert names(events)[-2:] == ["eof_received", "connection_lost"]


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_write_eof_with_pending_data(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        transport.write(b"x" * BIG)
        transport.write(b"y")
        transport.write_eof()
        world.record("pending", transport.get_write_buffer_size() > 0)
        data = await world.peer_reads(peer)
        world.record("sent", len(data), data[-2:])
        peer.close()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("sent", BIG + 1, b"xy") in events


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_reset_by_peer(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        reset(peer)
        await world.until_saw("connection_lost")
        world.record("state", transport.is_closing(), transport.get_write_buffer_size())

    events = compare(scenario)
    if side != "unix":
        assert (
            "connection_lost",
            ("ConnectionResetError", 104, "[Errno 104] Connection reset by peer"),
        ) in events


@both_kinds
def test_reset_by_peer_while_writes_wait(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        transport.pause_reading()
        transport.write(b"x" * BIG)
        reset(peer)
        await world.until_saw("connection_lost")
        world.record("size", transport.get_write_buffer_size())

    events = compare(scenario)
    assert names(events) == ["connection_made", "pause_writing", "connection_lost", "size"]


@both_kinds
def test_reset_while_paused_is_found_out_when_reading_goes_on(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        transport.pause_reading()
        await world.turns()
        reset(peer)
        for _ in range(3):
            await asyncio.sleep(0.002)
        world.record("closing", transport.is_closing())
        transport.resume_reading()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("closing", False) in events


@both_kinds
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("way", ["close", "abort"])
@pytest.mark.parametrize("twice", [False, True])
def test_end_by_us(kind: Any, side: str, way: str, twice: bool) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        transport.write(b"one ")
        transport.write(b"two ")
        transport.write(b"three")
        getattr(transport, way)()
        if twice:
            transport.close()
            transport.abort()
        world.record("state", transport.is_closing(), transport.is_reading())
        await world.until_saw("connection_lost")
        world.record("peer", await world.peer_reads(peer))
        world.record("protocol", transport.get_protocol() is None)

    events = compare(scenario)
    # What the socket had room for is sent, also when the connection is aborted.
    assert ("peer", b"one two three") in events


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_close_with_pending_data(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        count = await world.fill(transport)
        transport.close()
        world.record("state", transport.is_closing(), transport.is_reading())
        transport.write(b"the end")  # Still accepted: the connection is not lost yet.
        data = await world.peer_reads(peer)
        world.record("sent", len(data) - count, data[-7:])
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("sent", 7, b"the end") in events


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_abort_with_pending_data(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        await world.fill(transport)
        transport.write(b"dropped")
        transport.abort()
        world.record("size", transport.get_write_buffer_size())
        await world.until_saw("connection_lost")
        data = await world.peer_reads(peer)
        world.record("dropped", b"dropped" in data)

    events = compare(scenario)
    assert ("dropped", False) in events
    assert ("size", 0) in events


@both_kinds
@pytest.mark.parametrize("first", ["close", "abort"])
def test_abort_after_close(kind: Any, first: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        await world.fill(transport)
        getattr(transport, first)()
        transport.abort()
        await world.until_saw("connection_lost")
        await world.turns()

    assert names(compare(scenario)).count("connection_lost") == 1


CALLBACKS = [
    "connection_made",
    "data_received",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "connection_lost",
]
BUFFERED = ["get_buffer", "buffer_updated"]


EACH = [(Recorder, name) for name in CALLBACKS] + [
    (BufferedRecorder, name) for name in CALLBACKS + BUFFERED if name != "data_received"
]


async def drive(world: World, factory: Callable[[], Any], side: str) -> None:
    """Bring about every callback, as far as the connection lives."""
    transport, protocol, peer = await world.connect(factory, side)
    transport.set_write_buffer_limits(high=1000)
    await world.turns()
    if not transport.is_closing():
        await world.peer_writes(peer, b"hello")
        await world.until(lambda: world.received() >= 5 or transport.is_closing())
    if not transport.is_closing():
        transport.write(b"x" * BIG)
        await world.turns()
    data = b""
    if not transport.is_closing():
        data = await world.peer_reads(peer, BIG)
        await world.until(lambda: world.saw("resume_writing") or transport.is_closing())
    if not transport.is_closing():
        peer.shutdown(socket.SHUT_WR)
    data += await world.peer_reads(peer)
    await world.until_saw("connection_lost")
    await world.turns()
    # How much of a broken connection's data got through is the kernel's affair.
    world.record("peer_got", len(data) if len(data) in (0, 3, 6, BIG) else "some")
    world.record("closing", transport.is_closing())


def _perform(callback: str, action: Callable[[Any], Any]) -> dict[str, Any]:
    return {callback: lambda self, *args: action(self)}


def _raise(error: BaseException) -> Any:
    raise error


ACTIONS: dict[str, Callable[[Any], Any]] = {
    "close": lambda self: self.transport.close(),
    "abort": lambda self: self.transport.abort(),
    "write and close": lambda self: (self.transport.write(b"bye"), self.transport.close()) and None,
    "write twice and abort": lambda self: (
        [
            self.transport.write(b"bye"),
            self.transport.write(b"bye"),
            self.transport.abort(),
        ]
        and None
    ),
    "raise ValueError": lambda self: _raise(ValueError("no")),
    "raise OSError": lambda self: _raise(OSError(5, "no")),
    "raise ConnectionResetError": lambda self: _raise(ConnectionResetError(104, "no")),
    "raise CancelledError": lambda self: _raise(asyncio.CancelledError("no")),
    "raise GeneratorExit": lambda self: _raise(GeneratorExit("no")),
    "write twice and raise": lambda self: [
        self.transport.write(b"bye"),
        self.transport.write(b"bye"),
        _raise(ValueError("no")),
    ],
    "pause reading": lambda self: self.transport.pause_reading(),
    "write_eof": lambda self: self.transport.write_eof(),
}


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(("kind", "callback"), EACH)
@pytest.mark.parametrize(
    "action", [name for name in ACTIONS if name not in ("pause reading", "write_eof")]
)
def test_in_each_callback(kind: Any, side: str, callback: str, action: str) -> None:
    async def scenario(world: World) -> None:
        await drive(world, lambda: kind(world, _perform(callback, ACTIONS[action])), side)

    def doubled(event: Event) -> bool:
        # asyncio schedules the end of the connection, calls it at once too, and the second finds no socket.
        return (
            callback == "resume_writing"
            and event[0] == "exception_handler"
            and event[2][0] == "AttributeError"
        )

    events = compare(scenario, only_asyncio=doubled)
    assert callback in names(events) or callback == "buffer_updated"
    assert names(events).count("connection_lost") == 1
    if action == "raise ValueError" or (
        action == "raise OSError" and callback == "connection_lost"
    ):
        assert "exception_handler" in names(events)


@both_kinds
@pytest.mark.parametrize("action", ["raise ValueError", "raise OSError"])
@pytest.mark.parametrize("callback", ["data_received", "eof_received", "connection_lost"])
def test_errors_in_debug_mode(kind: Any, callback: str, action: str) -> None:
    if callback == "data_received" and kind is BufferedRecorder:
        callback = "buffer_updated"

    async def scenario(world: World) -> None:
        await drive(world, lambda: kind(world, _perform(callback, ACTIONS[action])), "client")

    events = compare(scenario, debug=True)
    assert "connection_lost" in names(events)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(("kind", "callback"), EACH)
def test_keyboard_interrupt_in_a_callback_ends_the_run_and_nothing_else(
    kind: Any, callback: str, error: type[BaseException]
) -> None:
    first = [True]

    def interrupt(self: Any) -> None:
        if first.pop() if first else False:
            raise error("stop")

    results = {}
    for name, new_loop in LOOPS.items():
        first[:] = [True]
        loop = new_loop()
        world = World(loop)
        protocol = kind(world, _perform(callback, interrupt))
        ours, peer = world.pair()
        big = 512 * 1024  # More than one read takes.
        interrupted = []

        def run(coroutine: Any, loop: Any = loop, interrupted: Any = interrupted) -> None:
            task = loop.create_task(coroutine)
            while not task.done():
                try:
                    loop.run_until_complete(asyncio.wait([task]))
                except (KeyboardInterrupt, SystemExit) as stop:
                    interrupted.append(type(stop))

        async def scenario(
            world: World = world, protocol: Any = protocol, ours: Any = ours, peer: Any = peer
        ) -> None:
            transport, _ = await world.loop.create_connection(lambda: protocol, sock=ours)
            await world.peer_writes(peer, b"d" * big)
            await world.until(lambda: world.received() == big)
            transport.write(b"x" * BIG)
            transport.write(b"y")
            await world.peer_reads(peer, BIG + 1)
            peer.shutdown(socket.SHUT_WR)
            await world.until_saw("connection_lost")

        run(asyncio.wait_for(scenario(), 60))
        world.close()
        loop.close()
        # asyncio tries to send an empty buffer after resume_writing was interrupted.
        kept = [
            event
            for event in world.events
            if event[:2] != ("exception_handler", "Exception in callback")
        ]
        results[name] = [names(kept), world.received(), interrupted]
    assert results["ferrio"] == results["asyncio"]
    assert results["ferrio"][1] == big
    assert set(results["ferrio"][2]) == {error}


@both_kinds
def test_writes_after_the_connection_is_lost(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        transport.abort()
        for count in range(8):
            transport.write(b"into the void")
            world.record("written", count)
        transport.write(b"")
        await world.until_saw("connection_lost")
        transport.write(b"into the void")
        transport.pause_reading()
        transport.resume_reading()
        transport.write_eof()
        world.record("end", transport.is_closing(), transport.is_reading())

    events = compare(scenario)
    # The warning comes with the fifth write.
    assert names(events)[: 2 + 8 + 4].count("log") == 4
    assert events[1:6] == [("written", n) for n in range(4)] + [
        ("log", "WARNING", "socket.send() raised exception.")
    ]


@both_kinds
def test_writes_to_a_peer_that_is_gone(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        transport.pause_reading()
        reset(peer)
        transport.write(b"first")
        transport.write(b"second")
        transport.write(b"third")
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert names(events) == ["connection_made", "connection_lost"]
    assert events[1][1][0] == "ConnectionResetError"


@both_kinds
def test_end_with_unread_data(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        transport.pause_reading()
        await world.peer_writes(peer, b"unread")
        await world.turns()
        transport.close()
        await world.until_saw("connection_lost")
        world.record("peer", await world.peer_reads(peer))

    events = compare(scenario)
    assert "peer_reset" in names(events)


@both_kinds
def test_data_before_the_end_and_before_a_reset(kind: Any) -> None:
    """What came before the end is delivered, in pieces of at most what one read takes."""

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(
            lambda: kind(world, size=1000) if kind is BufferedRecorder else kind(world)
        )
        transport.pause_reading()
        await world.peer_writes(peer, bytes(range(256)) * 40)
        peer.close()
        transport.resume_reading()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert (
        b"".join(event[1] for event in events if event[0] == "data_received")
        == bytes(range(256)) * 40
    )


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_an_answer_to_what_the_peer_refuses_to_read(kind: Any, side: str) -> None:
    """It is received, although to send then finds out that the peer is gone."""

    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world), side)
        await world.fill(transport)
        await world.turns()
        peer.send(b"too much")
        peer.close()  # What it has not read makes it a reset.
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("data_received", b"too much") in events


@pytest.mark.parametrize("side", SIDES)
def test_what_comes_is_told_before_there_is_room_again(side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: Recorder(world), side)
        transport.set_write_buffer_limits(high=0)
        await world.fill(transport)
        await world.turns()
        peer.send(b"meanwhile")
        while True:
            try:
                peer.recv(1 << 20)
            except BlockingIOError:
                break
        await world.until_saw("resume_writing")

    events = compare(scenario)
    order = ["connection_made", "pause_writing", "data_received", "resume_writing"]
    assert names(events)[:4] == order


@both_kinds
@pytest.mark.parametrize("side", SIDES)
def test_after_the_end_of_stream_much_is_sent_and_reading_goes_on(kind: Any, side: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(
            lambda: kind(world, {"eof_received": lambda self: True}), side
        )
        peer.shutdown(socket.SHUT_WR)
        await world.until_saw("eof_received")
        await world.turns()
        transport.write(b"x" * BIG)
        world.record("waits", transport.get_write_buffer_size() > 0)
        data = await world.peer_reads(peer, BIG)
        await world.until_saw("resume_writing")
        transport.pause_reading()
        transport.resume_reading()
        await world.until_saw("eof_received", 2)
        transport.write(b"y" * BIG)
        transport.close()
        data += await world.peer_reads(peer)
        world.record("got", len(data), data[-1:])
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("got", 2 * BIG, b"y") in events


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize("how", ["ended", "paused", "paused early", "paused, written and sent"])
@pytest.mark.parametrize("loop_name", LOOPS)
def test_the_loop_keeps_no_transport_of_which_nothing_is_wanted(loop_name: str, how: str) -> None:
    """And whose owner has forgotten it: the peer sees it closed."""
    if BEFORE_REPAIRS and (loop_name, how) == ("asyncio", "paused early"):
        pytest.skip("it begins to read all the same")
    loop = LOOPS[loop_name]()
    theirs, *ours = socket.socketpair()
    theirs.settimeout(20)
    big = b"x" * BIG

    class Keeps(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            if how == "paused early":
                transport.pause_reading()

        def eof_received(self) -> bool:
            ended.set_result(None)
            return True

    async def main() -> None:
        transport, _ = await loop.create_connection(Keeps, sock=ours.pop())
        if how == "ended":
            theirs.shutdown(socket.SHUT_WR)
            await ended
        elif how != "paused early":
            transport.pause_reading()
        if how == "paused, written and sent":
            transport.write(big)
            assert transport.get_write_buffer_size() > 0
            theirs.setblocking(False)
            left = len(big)
            while left:
                left -= len(await loop.sock_recv(theirs, 1 << 20))
            theirs.settimeout(20)
        del transport
        for _ in range(5):
            await asyncio.sleep(0)

    ended = loop.create_future()
    loop.run_until_complete(main())
    gc.collect()
    assert theirs.recv(1) == b""
    theirs.close()
    loop.close()


@pytest.mark.parametrize("loop_name", LOOPS)
def test_a_paused_transports_descriptor_is_still_its_own(loop_name: str) -> None:
    loop = LOOPS[loop_name]()
    theirs, ours = socket.socketpair()

    async def main() -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        transport.pause_reading()
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(ours.fileno(), print)
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    theirs.close()
    loop.close()


@both_kinds
def test_a_socket_that_somebody_made_blocking_stops_nothing(kind: Any) -> None:
    async def scenario(world: World) -> None:
        # Of Unix sockets: of TCP's, a read that left room is the last.
        ours, peer = socket.socketpair()
        ours.setblocking(False)
        peer.settimeout(20)
        world.sockets.append(peer)
        transport, _ = await world.loop.create_connection(lambda: kind(world), sock=ours)
        ours.setblocking(True)
        peer.sendall(b"question")
        await world.until_saw("data_received")
        await world.turns()
        transport.write(b"answer")
        world.record("answer", peer.recv(100))
        transport.abort()

    assert ("answer", b"answer") in compare(scenario)


@both_kinds
def test_the_loop_ends_before_the_connection(kind: Any) -> None:
    peers = []

    async def scenario(world: World) -> None:
        ours, peer = world.pair()
        peers.append(peer)
        world.sockets.clear()  # The peer stays open for longer than the loop.
        await world.loop.create_connection(lambda: kind(world), sock=ours)

    events = compare(scenario)
    for peer in peers:
        peer.close()
    warnings = [event for event in events if event[0] == "warning"]
    assert any("unclosed transport <Transport" in event[2] for event in warnings)


@both_kinds
def test_an_abandoned_transport_warns(kind: Any) -> None:
    async def scenario(world: World) -> None:
        ours, peer = world.pair()
        protocol = kind(world)
        transport, _ = await world.loop.create_connection(lambda given=protocol: given, sock=ours)
        gone = weakref.ref(transport)
        del transport, protocol, _
        gc.collect()
        world.record("alive", gone() is not None)  # The loop watches its socket.
        peer.close()
        await world.until_saw("connection_lost")
        await world.turns()
        gc.collect()
        world.record("alive", gone() is not None)

    events = compare(scenario)
    assert [event for event in events if event[0] == "alive"] == [("alive", True), ("alive", False)]


@both_kinds
def test_a_closed_transport_in_a_cycle_does_not_warn(kind: Any) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await world.connect(lambda: kind(world))
        world.transports.clear()
        transport.close()
        await world.until_saw("connection_lost")
        cycle: list[Any] = [transport]
        cycle.append(cycle)
        gone = weakref.ref(transport)
        del transport, cycle, _
        await world.turns()
        gc.collect()
        world.record("gone", gone() is None)

    events = compare(scenario)
    assert ("gone", True) in events
    assert "warning" not in names(events)


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio looks at it since 3.12, ferrio always"
)
@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="the second call closes the socket, which the first one uses",
)
@both_kinds
def test_connecting_on_a_socket_twice(kind: Any) -> None:
    async def scenario(world: World) -> None:
        ours, peer = world.pair()
        results = await asyncio.gather(
            world.loop.create_connection(lambda: kind(world), sock=ours),
            world.loop.create_connection(lambda: kind(world), sock=ours),
            return_exceptions=True,
        )
        for result in results:
            world.record("result", result if isinstance(result, BaseException) else "connected")
            if not isinstance(result, BaseException):
                world.transports.append(result[0])
        await world.peer_writes(peer, b"still there")
        await world.until(lambda: world.received() == 11)

    compare(scenario)


@both_kinds
@pytest.mark.parametrize("direction", ["reader", "writer"])
def test_a_transports_descriptor_is_no_ones_else(kind: Any, direction: str) -> None:
    async def scenario(world: World) -> None:
        def attempt(self: Any) -> None:
            fd = self.transport.get_extra_info("socket").fileno()
            add, remove = (getattr(world.loop, f"{verb}_{direction}") for verb in ("add", "remove"))
            world.attempt("add", lambda: add(fd, print))
            world.attempt("remove", lambda: remove(fd))

        transport, protocol, peer = await world.connect(
            lambda: kind(world, {"connection_made": lambda self: attempt(self)})
        )
        attempt(protocol)
        await world.peer_writes(peer, b"hello")
        await world.until(lambda: world.received() == 5)

    events = compare(scenario)
    assert names(events).count("add") == 2
    assert all(event[1][0] == "RuntimeError" for event in events if event[0] in ("add", "remove"))
