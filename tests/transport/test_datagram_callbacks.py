"""Datagrams: what callbacks may do, amid a burst and elsewhere."""

from __future__ import annotations

import asyncio
import contextvars
import socket
from typing import Any

import ferrio
import pytest

from .datagrams import (
    HAS_PAUSE,
    INET,
    MISCOUNTS,
    Recorder,
    drain,
    endpoint,
    fill,
    pair,
    plain,
)
from .world import LOOPS, Event, World, compare, names, play

pytestmark = pytest.mark.usefixtures("no_garbage_of_others")


def boom(*args: Any) -> None:
    raise ValueError("boom")


def burst(world: World, count: int, target: Any) -> None:
    """That many numbered datagrams, from one sender, before the loop looks."""
    sender = plain(world)
    for number in range(count):
        sender.sendto(b"%d" % number, target)


def numbers(events: list[Event]) -> list[int]:
    """The numbers of the datagrams received, in their order."""
    return [int(event[1]) for event in events if event[0] == "datagram_received"]


@pytest.mark.parametrize("debug", [False, True])
def test_datagram_received_raises(debug: bool) -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, {"datagram_received": boom}, local_addr=INET)
        burst(world, 5, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 5)
        await world.turns()
        world.record("closing", transport.is_closing())

    events = compare(scenario, debug)
    assert numbers(events) == [*range(5)]
    assert names(events).count("exception_handler") == 5
    assert ("closing", False) in events


@pytest.mark.parametrize("name", ["connection_made", "error_received", "connection_lost"])
def test_other_callbacks_raise(name: str) -> None:
    async def scenario(world: World) -> None:
        gone = plain(world)
        address = gone.getsockname()
        gone.close()
        transport, _ = await endpoint(world, {name: boom}, remote_addr=address)
        transport.sendto(b"anybody?")
        await world.until_saw("error_received")
        world.attempt("too large", lambda: transport.sendto(b"x" * 70_000))
        world.record("closing", transport.is_closing())
        transport.close()
        await world.until_saw("connection_lost")
        await world.turns()

    assert "exception_handler" in names(compare(scenario))


def test_flow_control_callbacks_raise() -> None:
    async def scenario(world: World) -> None:
        ours, peer = pair(world)
        transport, _ = await endpoint(
            world, {"pause_writing": boom, "resume_writing": boom}, sock=ours
        )
        transport.set_write_buffer_limits(high=0)
        count = fill(transport)
        await drain(world, peer, count)
        await world.turns()

    events = play(LOOPS["ferrio"], scenario) if MISCOUNTS else compare(scenario)
    assert names(events)[1:] == [
        "pause_writing",
        "exception_handler",
        "resume_writing",
        "exception_handler",
        "connection_lost",
    ]


@pytest.mark.skipif(not HAS_PAUSE, reason="asyncio's can't pause before Python 3.12")
def test_pause_amid_a_burst() -> None:
    async def scenario(world: World) -> None:
        def third(self: Recorder, data: bytes, addr: Any) -> None:
            if data == b"2":
                self.transport.pause_reading()
                self.transport.pause_reading()

        transport, _ = await endpoint(world, {"datagram_received": third}, local_addr=INET)
        burst(world, 10, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 3)
        await world.turns()
        world.record("paused", transport.is_reading(), repr(transport))
        transport.resume_reading()
        transport.resume_reading()
        world.record("resumed", transport.is_reading())
        await world.until_saw("datagram_received", 10)

    events = compare(scenario)
    assert numbers(events) == [*range(10)]
    assert names(events).index("paused") == 4


@pytest.mark.parametrize("end", ["close", "abort"])
def test_end_amid_a_burst(end: str) -> None:
    async def scenario(world: World) -> None:
        def third(self: Recorder, data: bytes, addr: Any) -> None:
            if data == b"2":
                getattr(self.transport, end)()

        transport, _ = await endpoint(world, {"datagram_received": third}, local_addr=INET)
        burst(world, 10, transport.get_extra_info("sockname"))
        await world.until_saw("connection_lost")

    assert numbers(compare(scenario)) == [0, 1, 2]


def test_set_protocol_amid_a_burst() -> None:
    async def scenario(world: World) -> None:
        other = Recorder(world, who={})

        def third(self: Recorder, data: bytes, addr: Any) -> None:
            if data == b"2":
                self.transport.set_protocol(other)
                world.record("same", self.transport.get_protocol() is other)

        other.on["connection_lost"] = lambda self, exc: world.record("other")
        transport, _ = await endpoint(world, {"datagram_received": third}, local_addr=INET)
        burst(world, 5, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 5)
        transport.close()
        await world.until_saw("connection_lost")
        await world.turns()

    events = compare(scenario)
    assert names(events)[-1] == "other"


def test_a_burst_leaves_turns_to_others() -> None:
    async def scenario(world: World) -> None:
        transport, _ = await endpoint(world, local_addr=INET)
        burst(world, 150, transport.get_extra_info("sockname"))
        while not world.saw("datagram_received", 150):
            world.record("turn")
            await asyncio.sleep(0)

    events = play(LOOPS["ferrio"], scenario)
    assert numbers(events) == [*range(150)]
    together = " ".join(names(events)).split("turn")
    assert max(piece.count("datagram_received") for piece in together) <= 32


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interrupt_amid_a_burst(error: type[BaseException]) -> None:
    received: list[bytes] = []
    loop = ferrio.new_event_loop()

    class Protocol(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            received.append(data)
            if data == b"1":
                raise error
            if data == b"3":
                loop.stop()

    async def begin() -> Any:
        transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=INET)
        return transport

    transport = loop.run_until_complete(begin())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(4):
            sender.sendto(b"%d" % number, transport.get_extra_info("sockname"))
    with pytest.raises(error):
        loop.run_forever()
    assert received == [b"0", b"1"]
    loop.run_forever()
    assert received == [b"0", b"1", b"2", b"3"]
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_context() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")

    async def scenario(world: World) -> None:
        def note(self: Recorder, *args: Any) -> None:
            world.record("variable", variable.get())
            variable.set("changed by a callback")

        variable.set("from the maker")
        on = dict.fromkeys(("connection_made", "datagram_received", "connection_lost"), note)
        transport, _ = await endpoint(world, on, local_addr=INET)
        variable.set("changed later")
        burst(world, 2, transport.get_extra_info("sockname"))
        await world.until_saw("datagram_received", 2)
        transport.close()
        await world.until_saw("connection_lost")
        world.record("variable", variable.get())

    assert names(compare(scenario)).count("variable") == 5
