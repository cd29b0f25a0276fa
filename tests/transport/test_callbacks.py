"""What the callbacks of datagram and pipe transports may do: raise anything, close, abort, send."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from .datagrams import MISCOUNTS, Recorder as DatagramRecorder, pair, plain
from .test_pipes import read_all
from .world import LOOPS, Event, Recorder, World, compare, names, play

both_modes = pytest.mark.parametrize("debug", [False, True], ids=["quiet", "debug"])


def _raise(error: BaseException) -> Any:
    raise error


class Nameless(DatagramRecorder):
    """Records datagrams without their sender, whose name the kernel made up."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._record("datagram_received", data)


ACTIONS: dict[str, Callable[[Any], Any]] = {
    "raise ValueError": lambda self: _raise(ValueError("no")),
    "raise OSError": lambda self: _raise(OSError(5, "no")),
    "raise ConnectionRefusedError": lambda self: _raise(ConnectionRefusedError(111, "no")),
    "raise BlockingIOError": lambda self: _raise(BlockingIOError(11, "no")),
    "raise InterruptedError": lambda self: _raise(InterruptedError(4, "no")),
    "raise CancelledError": lambda self: _raise(asyncio.CancelledError("no")),
    "close": lambda self: self.transport.close(),
    "abort": lambda self: self.transport.abort(),
    "close and raise": lambda self: self.transport.close() or _raise(ValueError("no")),
}
# A transport that only reads can't be aborted.
every_action = pytest.mark.parametrize("action", ACTIONS)


def _ended_twice(event: Event) -> bool:
    """Whether it is asyncio's second end of a pipe, which docs/differences.md tells of."""
    return event[0] == "exception_handler" and event[2][0] == "AttributeError"


def _fill(transport: Any, send: Callable[[int], None]) -> int:
    """Send until something waits, or a callback has closed the transport. Return how often."""
    count = 0
    while not transport.get_write_buffer_size() and not transport.is_closing():
        send(count)
        count += 1
    return count


def _perform(callback: str, action: str) -> dict[str, Any]:
    return {callback: lambda self, *args: ACTIONS[action](self)}


@both_modes
@every_action
@pytest.mark.parametrize(
    "callback",
    [
        "connection_made",
        "datagram_received",
        "error_received",
        "connection_lost",
    ],
)
def test_datagrams(callback: str, action: str, debug: bool) -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, _ = await world.loop.create_datagram_endpoint(
            lambda: Nameless(world, _perform(callback, action)), sock=ours
        )
        world.transports.append(transport)
        await world.turns()
        if not transport.is_closing():
            peer.connect(ours.getsockname())
            peer.send(b"hello")
            await world.until_saw("datagram_received")
        if not transport.is_closing():
            peer.close()
            try:
                transport.sendto(b"nobody")
            except asyncio.CancelledError as error:  # what error_received raised
                world.record("sendto", error)
            await world.turns()
        transport.close()
        await world.until_saw("connection_lost")
        await world.turns()
        world.record("closing", transport.is_closing())

    events = compare(scenario, debug)
    assert callback in names(events)
    assert names(events).count("connection_lost") == 1


@both_modes
@every_action
@pytest.mark.parametrize("callback", ["pause_writing", "resume_writing"])
def test_datagrams_that_wait(callback: str, action: str, debug: bool) -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, _ = await world.loop.create_datagram_endpoint(
            lambda: Nameless(world, _perform(callback, action)), sock=ours
        )
        world.transports.append(transport)
        transport.set_write_buffer_limits(high=0)
        _fill(transport, lambda count: transport.sendto(b"%d" % count))
        while not world.saw("connection_lost"):
            try:
                peer.recv(100)
            except BlockingIOError:
                await asyncio.sleep(0)
            if not transport.get_write_buffer_size():
                transport.close()
        await world.turns()
        world.record("closing", transport.is_closing())

    if MISCOUNTS:
        events = play(LOOPS["ferrio"], scenario, debug)
    else:
        events = compare(scenario, debug, only_asyncio=_ended_twice)
    assert callback in names(events)
    assert names(events).count("connection_lost") == 1


@pytest.mark.parametrize("connected", [False, True])
def test_nobody_listens_to_datagrams(connected: bool) -> None:
    """Only a socket that has one peer is told."""

    async def scenario(world: World) -> None:
        gone, there = plain(world), plain(world)
        address = gone.getsockname()
        gone.close()
        options: dict[str, Any] = {"remote_addr" if connected else "local_addr": address}
        if not connected:
            options = {"local_addr": ("127.0.0.1", 0)}
        transport, _ = await world.loop.create_datagram_endpoint(
            lambda: DatagramRecorder(world), **options
        )
        world.transports.append(transport)
        world.attempt("to nobody", lambda: transport.sendto(b"x", address))
        if connected:
            await world.until_saw("error_received")
            world.attempt("to another", lambda: transport.sendto(b"x", there.getsockname()))
        else:
            transport.sendto(b"x", there.getsockname())
            world.record("peer", there.recv(10))
        world.record("closing", transport.is_closing())

    events = compare(scenario)
    assert ("error_received" in names(events)) == connected


@both_modes
@every_action
@pytest.mark.parametrize(
    "callback", ["connection_made", "data_received", "eof_received", "connection_lost"]
)
def test_pipes_that_read(callback: str, action: str, debug: bool) -> None:
    if action == "abort":
        pytest.skip("only a transport that writes can be aborted")

    async def scenario(world: World) -> None:
        reading, writing = os.pipe()
        transport, _ = await world.loop.connect_read_pipe(
            lambda: Recorder(world, _perform(callback, action)), os.fdopen(reading, "rb", 0)
        )
        await world.turns()
        if not transport.is_closing():
            os.write(writing, b"hello")
            await world.until(lambda: world.received() == 5)
        os.close(writing)
        await world.until_saw("connection_lost")
        await world.turns()
        world.record("closing", transport.is_closing())

    events = compare(scenario, debug)
    assert names(events).count("connection_lost") == 1


@both_modes
@every_action
@pytest.mark.parametrize(
    "callback", ["connection_made", "pause_writing", "resume_writing", "connection_lost"]
)
def test_pipes_that_write(callback: str, action: str, debug: bool) -> None:
    async def scenario(world: World) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        transport, _ = await world.loop.connect_write_pipe(
            lambda: Recorder(world, _perform(callback, action)), os.fdopen(writing, "wb", 0)
        )
        await world.turns()
        if not transport.is_closing():
            # All of it at once leaves nothing between the low-water mark and the end, where asyncio resumes.
            transport.set_write_buffer_limits(high=1000, low=0)
            count = 4096 * _fill(transport, lambda count: transport.write(b"f" * 4096))
            if not transport.is_closing():
                await read_all(world, reading, count)
                await world.until(lambda: world.saw("resume_writing") or transport.is_closing())
        os.close(reading)
        await world.until_saw("connection_lost")
        await world.turns()
        world.record("closing", transport.is_closing())

    events = compare(scenario, debug, only_asyncio=_ended_twice)
    assert names(events).count("connection_lost") == 1
