"""Flow control through both layers."""

import asyncio
import contextlib
import resource
import socket
import threading
from pathlib import Path

import pytest

from .support import PATIENCE, TLS12, TLS13, Diary, listening, receive_all, run


def test_peer_that_does_not_read(make_loop, certificates):
    """The protocol is paused, memory is bounded, and it goes on when the peer reads."""
    may_read = threading.Event()
    chunk = b"x" * 65536

    def serve(connection):
        with certificates.server().wrap_socket(connection, server_side=True) as tls:
            may_read.wait(PATIENCE)
            counts.append(len(receive_all(tls)))
            with contextlib.suppress(OSError):
                tls.unwrap()

    counts = []

    async def main(loop, address):
        transport, diary = await loop.create_connection(
            Diary, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        written = 0
        while "pause_writing" not in diary.lines:
            transport.write(chunk)
            written += len(chunk)
            await asyncio.sleep(0)
            assert written < 64 << 20
        limit = transport.get_write_buffer_limits()[1]
        # One write went above the mark, and its records a little more.
        assert limit <= transport.get_write_buffer_size() <= limit + len(chunk) + 1000
        may_read.set()
        while "resume_writing" not in diary.lines:
            await asyncio.sleep(0.001)
        transport.close()
        await diary.lost
        return written

    with listening(serve) as address:
        loop = make_loop()
        written = run(loop, main(loop, address))
    assert counts == [written]


def test_pause_reading(make_loop, certificates):
    """Nothing comes while reading is paused, all of it after; the peer is held back meanwhile."""
    size = 32 << 20
    sent = []

    def serve(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        with certificates.server().wrap_socket(connection, server_side=True) as tls:
            for _ in range(size >> 20):
                tls.sendall(bytes(1 << 20))
                sent.append(1)
            with contextlib.suppress(OSError):
                tls.unwrap()

    async def main(loop, address):
        transport, diary = await loop.create_connection(
            Diary, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        transport.pause_reading()
        assert not transport.is_reading()
        before = len(diary.received)
        # Until the peer has stopped for a while.
        stands = -1
        while stands != len(sent):
            stands = len(sent)
            await asyncio.sleep(0.1)
        assert len(diary.received) == before
        assert transport.get_read_buffer_size() < 1 << 20
        assert len(sent) < size >> 20
        transport.resume_reading()
        assert transport.is_reading()
        await diary.receive(size)
        await diary.lost

    with listening(serve) as address:
        loop = make_loop()
        run(loop, main(loop, address))


@pytest.mark.parametrize("direction", ["write", "read"])
def test_limits(make_loop, certificates, direction):
    def serve(connection):
        with certificates.server().wrap_socket(connection, server_side=True) as tls:
            receive_all(tls)
            with contextlib.suppress(OSError):
                tls.unwrap()

    async def main(loop, address):
        transport, diary = await loop.create_connection(
            Diary, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        get = getattr(transport, f"get_{direction}_buffer_limits")
        put = getattr(transport, f"set_{direction}_buffer_limits")
        seen = [get()]
        for arguments in [{"high": 1000}, {"low": 100}, {"high": 5, "low": 5}, {}]:
            put(**arguments)
            seen.append(get())
        for arguments in [{"high": 1, "low": 2}, {"high": -1}]:
            with pytest.raises(ValueError, match="must be >= low") as caught:
                put(**arguments)
            seen.append(str(caught.value))
        transport.close()
        await diary.lost
        return seen

    with listening(serve) as address:
        loop = make_loop()
        seen = run(loop, main(loop, address))
    high = 512 * 1024 if direction == "write" else 256 * 1024
    assert seen == [
        (high // 4, high),
        (250, 1000),
        (100, 400),
        (5, 5),
        (high // 4, high),
        "high (1) must be >= low (2) must be >= 0",
        "high (-1) must be >= low (-1) must be >= 0",
    ]


def test_pause_writing_that_fails(make_loop, certificates):
    """It is reported, and the connection lives on."""

    class Failing(Diary):
        def pause_writing(self):
            raise ValueError("why")

    def serve(connection):
        with certificates.server().wrap_socket(connection, server_side=True) as tls:
            receive_all(tls)
            with contextlib.suppress(OSError):
                tls.unwrap()

    async def main(loop, address):
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        transport, diary = await loop.create_connection(
            Failing, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        transport.set_write_buffer_limits(0)
        transport.write(b"x")
        transport.close()
        await diary.lost
        return [(report["message"], str(report["exception"])) for report in reports]

    with listening(serve) as address:
        loop = make_loop()
        reports = run(loop, main(loop, address))
    assert reports[0] == ("protocol.pause_writing() failed", "why")


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_get_buffer_smaller_than_a_record(make_loop, certificates, version):
    """What doesn't fit comes in a later turn."""
    message = bytes(range(256)) * 400

    class Small(asyncio.BufferedProtocol):
        def __init__(self):
            self.buffer, self.received = bytearray(700), bytearray()
            self.lost = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint):
            return memoryview(self.buffer)

        def buffer_updated(self, count):
            self.received += self.buffer[:count]

        def connection_lost(self, error):
            self.lost.set_result(error)

    def serve(connection):
        with certificates.server(**version).wrap_socket(connection, server_side=True) as tls:
            tls.sendall(message)
            with contextlib.suppress(OSError):
                tls.unwrap()

    async def main(loop, address):
        _, protocol = await loop.create_connection(
            Small, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        assert await protocol.lost is None
        return bytes(protocol.received)

    with listening(serve) as address:
        loop = make_loop()
        assert run(loop, main(loop, address)) == message


def test_an_interrupt_at_the_end_of_a_turn_drops_nothing(make_loop, certificates):
    """What several connections wrote in a turn is sent, also when each one's protocol raises on the way."""

    class Interrupting(Diary):
        def resume_writing(self):
            raise KeyboardInterrupt

    diaries = []

    def accept():
        diaries.append(Diary())
        return diaries[-1]

    async def connect(loop):
        server = await loop.create_server(accept, "127.0.0.1", 0, ssl=certificates.server())
        address = server.sockets[0].getsockname()
        transports = []
        for _ in range(3):
            transport, _ = await loop.create_connection(
                Interrupting, *address, ssl=certificates.client(), server_hostname="localhost"
            )
            transport.set_write_buffer_limits(10, 0)
            transports.append(transport)
        return server, transports

    async def received(server, transports):
        for diary in diaries:
            assert await diary.receive(24) == b"one" + b"x" * 21
        for transport in transports:
            transport.abort()
        server.close()

    def write(transports):
        for transport in transports:
            for data in (b"one", b"x" * 21):
                # asyncio's sends, and resumes the protocol, in the call.
                with contextlib.suppress(KeyboardInterrupt):
                    transport.write(data)
        loop.stop()

    loop = make_loop()
    server, transports = loop.run_until_complete(connect(loop))
    loop.call_soon(write, transports)
    # ferrio's at the end of the turn.
    with contextlib.suppress(KeyboardInterrupt):
        loop.run_forever()
    run(loop, received(server, transports))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_slow_reading_of_a_peer_that_never_stops(make_loop, certificates):
    """What was read is forgotten, although something is always left."""
    size = 64 << 20
    page = resource.getpagesize()
    grown = []

    def memory():
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    def serve(connection):
        encrypted = certificates.server().wrap_socket(connection, server_side=True)
        with encrypted as tls, contextlib.suppress(OSError):
            while True:
                tls.sendall(b"x" * (1 << 20))

    class Slow(asyncio.BufferedProtocol):
        def __init__(self):
            self.buffer = bytearray(60 * 1024)
            self.received = 0
            self.enough = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.transport = transport

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            self.received += nbytes
            if self.received >= size:
                if not self.enough.done():
                    self.enough.set_result(None)
                return
            self.transport.pause_reading()
            # The peer sends more meanwhile.
            asyncio.get_running_loop().call_later(0.0004, self.transport.resume_reading)

    async def main(loop, address):
        before = memory()
        transport, protocol = await loop.create_connection(
            Slow, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        await protocol.enough
        grown.append(memory() - before)
        transport.abort()

    with listening(serve) as address:
        loop = make_loop()
        run(loop, main(loop, address))
    assert grown[0] < 16 << 20
