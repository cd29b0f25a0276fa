"""From `connection_made` to `connection_lost`, encrypted: what each callback may do, and every way to end."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.transport.test_life import ACTIONS, BUFFERED, CALLBACKS
from tests.transport.world import Event, Recorder, World, names, reset

from .support import TLS12, TLS13, Certificates
from .world import SIDES, BufferedRecorder, Encrypted, Peer, compare

BIG = 1 << 20

# Which kind of protocol it is and which side makes no difference to each other.
KIND_AND_SIDE = [(Recorder, "client"), (BufferedRecorder, "server"), (Recorder, "upgraded")]
every_side = pytest.mark.parametrize("side", SIDES)
each_kind = pytest.mark.parametrize(("kind", "side"), KIND_AND_SIDE)


@pytest.fixture(params=[TLS12, TLS13], ids=["1.2", "1.3"])
def encrypted(certificates: Certificates, request: pytest.FixtureRequest) -> Encrypted:
    """Encrypted connections, of each version."""
    return Encrypted(certificates, request.param)


async def drive(
    world: World, encrypted: Encrypted, factory: Callable[[], Any], side: str, more: int = 0
) -> None:
    """Bring about every callback, as far as the connection lives, in which `more` bytes are written."""
    connecting, peer = await encrypted.begin(world, factory, side)
    await peer.handshake()
    transport, _ = await connecting
    world.transports.append(transport)
    if not transport.is_closing():
        transport.set_write_buffer_limits(high=1000)
    await world.turns()
    if not transport.is_closing():
        await peer.send(b"hello")
        await world.until(lambda: world.received() >= 5 or transport.is_closing())
    if not transport.is_closing():
        # The first fills the transport below, the second this one.
        transport.write(b"x" * BIG)
        transport.write(b"x" * 4000)
        await world.turns()
    data = b""
    if not transport.is_closing():
        data = await peer.read(BIG + 4000 + more)
        await world.until(lambda: world.saw("resume_writing") or transport.is_closing())
    if not transport.is_closing():
        await peer.close_writing()
    data += await peer.read()
    peer.sock.close()
    await world.until_saw("connection_lost")
    await world.turns()
    # How much of a broken connection's data got through is the kernel's affair.
    world.record("peer_got", len(data) if len(data) in (0, 3, 6, BIG + 4000 + more) else "some")
    world.record("closing", transport.is_closing())


EACH = [(Recorder, "client", name) for name in CALLBACKS] + [
    (BufferedRecorder, "server", name) for name in CALLBACKS + BUFFERED if name != "data_received"
]


# What a callback does. The rest of the actions has nothing of its own to show here.
DONE = [
    "close",
    "abort",
    "write and close",
    "write twice and abort",
    "write twice and raise",
    "raise ValueError",
    "raise OSError",
    "raise CancelledError",
]


def _asyncios_own(event: Event) -> bool:
    """Whether asyncio's layers missed each other: the lower one is gone when the upper one closes it."""
    return event[:2] == ("exception_handler", "Exception in callback") and "NoneType" in event[2][2]


@pytest.mark.parametrize(("kind", "side", "callback"), EACH)
@pytest.mark.parametrize("action", DONE)
def test_in_each_callback(
    certificates: Certificates, kind: Any, side: str, callback: str, action: str
) -> None:
    if (side, callback) == ("client", "connection_made") and action == "raise CancelledError":
        pytest.skip("asyncio's create_connection() waits for ever")
    encrypted = Encrypted(certificates, TLS13)
    goes_on = action == "write twice and raise" and callback in ("pause_writing", "resume_writing")

    async def scenario(world: World) -> None:
        on = {callback: lambda self, *args: ACTIONS[action](self)}
        await drive(world, encrypted, lambda: kind(world, on), side, 6 if goes_on else 0)

    events = compare(scenario, only_asyncio=_asyncios_own)
    assert callback in names(events) or callback in BUFFERED
    assert names(events).count("connection_lost") == 1
    if action == "raise ValueError":
        assert "exception_handler" in names(events)


@pytest.mark.parametrize("action", ["raise ValueError", "raise OSError"])
@pytest.mark.parametrize("callback", ["data_received", "eof_received", "connection_lost"])
def test_errors_in_debug_mode(certificates: Certificates, callback: str, action: str) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        on = {callback: lambda self, *args: ACTIONS[action](self)}
        await drive(world, encrypted, lambda: Recorder(world, on), "client")

    assert "connection_lost" in names(compare(scenario, debug=True))


# --- the peer's ends


async def _by_saying_so(peer: Peer) -> None:
    await peer.close_writing()


async def _and_closes(peer: Peer) -> None:
    await peer.close_writing()
    peer.sock.shutdown(socket.SHUT_WR)


async def _data_and_end_at_once(peer: Peer) -> None:
    await peer.send_raw(peer.encrypted(b"last words") + peer.last_word())


async def _without_a_word(peer: Peer) -> None:
    peer.sock.shutdown(socket.SHUT_WR)


async def _within_a_record(peer: Peer) -> None:
    await peer.send_raw(peer.encrypted(b"cut short")[:-3])
    peer.sock.shutdown(socket.SHUT_WR)


async def _by_reset(peer: Peer) -> None:
    reset(peer.sock)


async def _by_reset_within_a_record(peer: Peer) -> None:
    await peer.send_raw(peer.encrypted(b"cut short")[:-3])
    await peer.world.turns()
    reset(peer.sock)


async def _by_garbage(peer: Peer) -> None:
    await peer.send_raw(b"\x17\x03\x03\x00\x20" + b"x" * 32)


async def _by_a_false_record(peer: Peer) -> None:
    record = bytearray(peer.encrypted(b"true"))
    record[-1] ^= 1
    await peer.send_raw(bytes(record))


async def _by_data_before_garbage(peer: Peer) -> None:
    await peer.send_raw(peer.encrypted(b"true") + b"GET / HTTP/1.1\r\n\r\n")


ENDS: dict[str, Callable[[Peer], Any]] = {
    "close_notify": _by_saying_so,
    "close_notify and end": _and_closes,
    "data and close_notify": _data_and_end_at_once,
    "end": _without_a_word,
    "end within a record": _within_a_record,
    "reset": _by_reset,
    "reset within a record": _by_reset_within_a_record,
    "garbage": _by_garbage,
    "false record": _by_a_false_record,
    "data before garbage": _by_data_before_garbage,
}
every_end = pytest.mark.parametrize("end", ENDS)

INFO = ["peername", "sockname", "ssl_object", "peercert", "cipher", "sslcontext", "compression"]


def _tell(world: World, transport: Any) -> None:
    """Record what the transport says of itself."""
    info = [name for name in INFO if transport.get_extra_info(name) is not None]
    world.record("state", transport.is_closing(), transport.get_write_buffer_size(), info)


async def _see(world: World, peer: Peer) -> None:
    """Record what the peer still gets, if its socket is open."""
    if peer.sock.fileno() >= 0:
        world.record("peer", await peer.read())
        peer.sock.close()


@every_end
@each_kind
def test_end_by_the_peer(encrypted: Encrypted, kind: Any, side: str, end: str) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: kind(world), side)
        await peer.send(b"hello")
        await world.until(lambda: world.received() == 5)
        _tell(world, transport)
        await ENDS[end](peer)
        await _see(world, peer)
        await world.until_saw("connection_lost")
        _tell(world, transport)
        for _ in range(6):
            transport.write(b"late")
        # In this order: a close() of what is closed takes asyncio's transport apart.
        transport.abort()
        transport.close()
        await world.turns()

    events = compare(scenario)
    assert names(events).count("connection_lost") == 1
    assert "log" in names(events)


@every_end
@pytest.mark.parametrize("side", ["client", "server"])
def test_end_by_the_peer_while_much_waits(certificates: Certificates, side: str, end: str) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: Recorder(world), side)
        transport.set_write_buffer_limits(high=1000)
        transport.write(b"x" * BIG)
        transport.write(b"x" * 4000)
        await ENDS[end](peer)
        if peer.sock.fileno() >= 0:
            # What was sent before is of no interest, but how it ends.
            await peer.until_closed()
        await world.until_saw("connection_lost")
        world.record("closing", transport.is_closing())

    events = compare(scenario)
    assert names(events).count("connection_lost") == 1


@every_end
@pytest.mark.parametrize("side", ["client", "server"])
def test_end_by_the_peer_while_reading_is_paused(
    certificates: Certificates, side: str, end: str
) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: Recorder(world), side)
        transport.pause_reading()
        await peer.send(b"hello")
        await ENDS[end](peer)
        for _ in range(5):
            await asyncio.sleep(0.001)
        world.record("reading", transport.is_reading())
        transport.resume_reading()
        await world.until_saw("connection_lost")

    compare(scenario)


@pytest.mark.parametrize("answer", [None, "", True, "yes"])
@each_kind
def test_answer_of_eof_received(encrypted: Encrypted, kind: Any, side: str, answer: Any) -> None:
    async def scenario(world: World) -> None:
        on = {"eof_received": lambda self: answer}
        _, _, peer = await encrypted.connect(world, lambda: kind(world, on), side)
        await peer.close_writing()
        await _see(world, peer)
        await world.until_saw("connection_lost")

    assert ("log" in names(compare(scenario))) == bool(answer)


# --- our ends


OURS: dict[str, list[str]] = {
    "close": ["close"],
    "close twice": ["close", "close"],
    "abort": ["abort"],
    "close, then abort": ["close", "abort"],
    "abort, then close": ["abort", "close"],
    "abort twice": ["abort", "abort"],
}


@pytest.mark.parametrize("how", OURS)
@pytest.mark.parametrize("much", [False, True], ids=["little", "much"])
@each_kind
def test_end_by_us(certificates: Certificates, kind: Any, side: str, much: bool, how: str) -> None:
    encrypted = Encrypted(certificates, TLS13)
    size = BIG if much else 10

    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: kind(world), side)
        transport.write(b"x" * size)
        transport.write(b"the end")
        for step in OURS[how]:
            getattr(transport, step)()
            world.record(step, transport.is_closing())
        # A close() after the first one takes asyncio's transport apart: its methods raise AttributeErrors.
        whole = OURS[how][1:] != ["close"]
        if whole:
            for _ in range(6):
                transport.write(b"late")
            transport.pause_reading()
            transport.resume_reading()
        world.attempt("write_eof", transport.write_eof)
        data = await peer.read()
        world.record("peer", "some" if much and "abort" in how else data[-7:])
        peer.sock.close()
        await world.until_saw("connection_lost")
        await world.turns()
        world.record("closing", transport.is_closing())
        if whole:
            _tell(world, transport)

    events = compare(scenario)
    assert names(events).count("connection_lost") == 1
    assert ("peer", b"the end") in events or (much and "abort" in how)


@every_end
@pytest.mark.parametrize("side", ["client", "server"])
def test_end_by_the_peer_after_ours(encrypted: Encrypted, side: str, end: str) -> None:
    """The peer answers our `close_notify` in another way, or crosses it."""

    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: Recorder(world), side)
        transport.close()
        await world.turns()
        await ENDS[end](peer)
        if peer.sock.fileno() >= 0:
            await peer.until_closed()
        await world.until_saw("connection_lost")
        world.record("closing", transport.is_closing())

    compare(scenario)


@every_side
@pytest.mark.parametrize("much", [False, True], ids=["little", "much"])
def test_shutdown_that_takes_too_long(encrypted: Encrypted, side: str, much: bool) -> None:
    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(
            world, lambda: Recorder(world), side, ssl_shutdown_timeout=0.02
        )
        if much:
            transport.write(b"x" * BIG)
            transport.write(b"x" * 4000)
        transport.close()
        await world.until_saw("connection_lost")
        _tell(world, transport)
        await peer.until_closed()

    events = compare(scenario)
    assert ("connection_lost", ("TimeoutError", None, "SSL shutdown timed out")) in events


# --- the connection below


@pytest.mark.parametrize("way", ["close", "abort"])
def test_the_end_of_the_connection_below(certificates: Certificates, way: str) -> None:
    """What was written before it is sent."""
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        ours, theirs = world.pair()
        peer = encrypted.peer(world, theirs, "client")
        raw, protocol = await world.loop.create_connection(lambda: Recorder(world), sock=ours)
        context = encrypted.client_context
        upgrade = world.loop.start_tls(raw, protocol, context, server_hostname="localhost")
        upgrading = asyncio.ensure_future(upgrade)
        await peer.handshake()
        transport = await upgrading
        for part in b"head ", b"body ", b"tail":
            transport.write(part)
        getattr(raw, way)()
        world.record("peer", await peer.read())
        theirs.close()
        await world.until_saw("connection_lost")

    assert ("peer", b"head body tail") in compare(scenario)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
@pytest.mark.parametrize("way", ["close_clients", "abort_clients"])
def test_a_server_ends_its_connections(certificates: Certificates, way: str) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        protocols: list[Any] = []

        def make() -> Any:
            protocols.append(Recorder(world))
            return protocols[-1]

        server: Any = await world.loop.create_server(
            make, "127.0.0.1", 0, ssl=encrypted.server_context
        )
        theirs = socket.create_connection(server.sockets[0].getsockname())
        theirs.setblocking(False)
        world.sockets.append(theirs)
        peer = encrypted.peer(world, theirs, "server")
        await peer.handshake()
        await world.until_saw("connection_made")
        for part in b"head ", b"body ", b"tail":
            protocols[0].transport.write(part)
        getattr(server, way)()
        server.close()
        world.record("peer", await peer.read())
        theirs.close()
        await world.until_saw("connection_lost")

    assert ("peer", b"head body tail") in compare(scenario)


def test_several_writes_of_a_turn_have_nobody_pause(certificates: Certificates) -> None:
    """As long as the connection below takes them."""
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: Recorder(world), "client")
        transport.set_write_buffer_limits(high=1000)
        for asks in True, False:
            for _ in range(5):
                transport.write(b"x" * 600)
                if asks:
                    world.record("size", transport.get_write_buffer_size())
            await world.turns()
        world.record("peer", len(await peer.read(6000)))

    events = compare(scenario)
    assert "pause_writing" not in names(events)
    assert events.count(("size", 0)) == 5


def test_is_closing_after_an_error(certificates: Certificates) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        def fail(protocol: Any) -> None:
            tell = protocol.transport.is_closing
            world.loop.call_soon(lambda: world.record("closing", tell()))
            raise ValueError("no")

        _, _, peer = await encrypted.connect(
            world, lambda: Recorder(world, {"data_received": lambda self, _: fail(self)}), "client"
        )
        await peer.send(b"hello")
        await world.until_saw("connection_lost")

    assert "closing" in names(compare(scenario))


class Upgraded(Recorder):
    """A recorder that keeps the transport below, which it had before the upgrade."""

    below: Any = None

    def connection_made(self, transport: Any) -> None:
        self.below = transport
        super().connection_made(transport)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_connection_below_ends_in_data_received(certificates: Certificates, end: str) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        def finish(protocol: Any, _: bytes) -> None:
            world.attempt(end, getattr(protocol.below, end))

        protocol = Upgraded(world, {"data_received": finish})
        _, _, peer = await encrypted.connect(world, lambda: protocol, "upgraded")
        await peer.send(b"hello")
        await world.until_saw("connection_lost")

    assert (end, None) in compare(scenario)


def test_what_was_written_is_sent_before_the_connection_below_changes_hands(
    certificates: Certificates,
) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        protocol = Upgraded(world)
        transport, _, peer = await encrypted.connect(world, lambda: protocol, "upgraded")
        transport.write(b"one ")
        transport.write(b"two")
        protocol.below.set_protocol(asyncio.Protocol())
        world.record("peer", await peer.read(7))
        protocol.below.abort()
        await world.turns()

    assert ("peer", b"one two") in compare(scenario)


def test_a_fork_in_data_received(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before is sent, and neither process finds anything wrong."""
    encrypted = Encrypted(certificates, TLS13)
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    async def scenario(world: World) -> None:
        def fork(protocol: Any, _: bytes) -> None:
            protocol.transport.write(b"one ")
            protocol.transport.write(b"two ")
            with warnings.catch_warnings():
                # This process has had threads, on some versions a reason to warn.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                os._exit(len(unraisable))
            world.record("child", os.waitpid(child, 0)[1])
            protocol.transport.write(b"three")

        protocol = Recorder(world, {"data_received": fork})
        transport, _, peer = await encrypted.connect(world, lambda: protocol, "client")
        await peer.send(b"hello")
        world.record("peer", await peer.read(13))
        transport.abort()
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert ("child", 0) in events
    assert ("peer", b"one two three") in events
    assert unraisable == []


UNFIT = memoryview(b"abcdef")[::2]


@pytest.mark.parametrize(
    ("method", "data"),
    [("write", UNFIT), ("writelines", [b"one", UNFIT]), ("writelines", [b"one", "two"])],
    ids=["write", "writelines", "writelines of str"],
)
def test_what_can_t_be_encrypted_ends_the_connection(
    certificates: Certificates, method: str, data: Any
) -> None:
    encrypted = Encrypted(certificates, TLS13)

    async def scenario(world: World) -> None:
        transport, _, peer = await encrypted.connect(world, lambda: Recorder(world), "client")
        world.attempt(method, lambda: getattr(transport, method)(data))
        await world.until_saw("connection_lost")

    events = compare(scenario)
    assert (method, None) in events
    assert "exception_handler" in names(events)


@pytest.mark.parametrize(
    "unfit",
    [b"read-only", None, "text", memoryview(bytearray(9))[::2]],
    ids=["read-only", "None", "text", "not contiguous"],
)
def test_a_buffer_that_can_t_be_filled_ends_the_connection(
    certificates: Certificates, unfit: Any
) -> None:
    encrypted = Encrypted(certificates, TLS13)

    class Unfit(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return unfit if sizehint else super().get_buffer(sizehint)

    async def scenario(world: World) -> None:
        _, _, peer = await encrypted.connect(world, lambda: Unfit(world), "client")
        await peer.send(b"hello")
        await world.until_saw("connection_lost")

    assert "exception_handler" in names(compare(scenario))
