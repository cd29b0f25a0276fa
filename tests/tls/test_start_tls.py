"""`loop.start_tls`: servers, clients, what is encrypted already, transports of others."""

import asyncio
import contextlib
import socket
import ssl
import threading

import ferrio
import pytest

from .support import PATIENCE, Diary, listening, receive_all, run, words
from .test_handshake import on_each


class Upgrading(Diary):
    """A server that answers STARTTLS in plain text, then encrypts, then echoes."""

    def __init__(self, context, rounds=1):
        super().__init__()
        self.context, self.rounds = context, rounds
        self.upgrading = None

    def data_received(self, data):
        self.received += data
        self.react()

    def react(self):
        # What comes together with the handshake's end comes before `start_tls` has returned.
        if self.upgrading:
            return
        if self.received == b"STARTTLS" and self.rounds:
            self.rounds -= 1
            self.received.clear()
            self.transport.write(b"GO")
            self.upgrading = asyncio.get_running_loop().create_task(self.upgrade())
        elif not self.rounds:
            self.transport.write(bytes(self.received))
            self.received.clear()

    async def upgrade(self):
        self.transport = await asyncio.get_running_loop().start_tls(
            self.transport, self, self.context, server_side=True
        )
        self.upgrading = None
        self.react()


@pytest.mark.parametrize("rounds", [1, 2], ids=["TLS", "TLS in TLS"])
def test_server_and_client(make_loop, certificates, rounds):
    message = b"x" * 300_000

    async def main(loop):
        upgraded = []

        def factory():
            upgraded.append(Upgrading(certificates.server(), rounds))
            return upgraded[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        transport, diary = await loop.create_connection(Diary, *server.sockets[0].getsockname())
        for _ in range(rounds):
            transport.write(b"STARTTLS")
            assert await diary.receive(2) == b"GO"
            diary.received.clear()
            transport = await loop.start_tls(
                transport, diary, certificates.client(), server_hostname="localhost"
            )
        assert diary.lines.count("connection_made") == 1
        transport.write(message)
        assert await diary.receive(len(message)) == message
        assert transport.get_extra_info("cipher")
        assert transport.get_extra_info("peername") == server.sockets[0].getsockname()
        transport.close()
        await diary.lost
        await upgraded[0].lost
        server.close()
        return diary.lines

    loop = make_loop()
    lines = run(loop, main(loop))
    assert lines[-1] == "connection_lost None"


def test_hello_that_is_there_already(make_loop, certificates):
    """The client says hello before the server has begun to encrypt: nothing is lost."""
    message = b"hello, hello"

    async def main(loop):
        accepted, paused = loop.create_future(), threading.Event()

        class Plain(Diary):
            def connection_made(self, transport):
                super().connection_made(transport)
                accepted.set_result((transport, self))

        server = await loop.create_server(Plain, "127.0.0.1", 0)

        def connect():
            with socket.create_connection(server.sockets[0].getsockname()) as plain:
                paused.wait(PATIENCE)
                with certificates.client().wrap_socket(plain, server_hostname="localhost") as tls:
                    tls.sendall(message)
                    return receive_all(tls)

        client = loop.run_in_executor(None, connect)
        transport, diary = await accepted
        transport.pause_reading()
        paused.set()
        waiting = transport.get_extra_info("socket")._sock
        while not await loop.run_in_executor(
            None, lambda: len(waiting.recv(1, socket.MSG_PEEK)) if _readable(waiting) else 0
        ):
            pass
        transport = await loop.start_tls(transport, diary, certificates.server(), server_side=True)
        assert await diary.receive(len(message)) == message
        transport.write(b"and bye")
        transport.close()
        assert await client == b"and bye"
        server.close()

    loop = make_loop()
    run(loop, main(loop))


@pytest.mark.parametrize("start_server", [asyncio.start_server, ferrio.start_server])
def test_hello_that_a_stream_has_received_already(engine, certificates, start_server):
    async def main(loop):
        outcome = loop.create_future()

        async def serve(reader, writer):
            while "bytes" not in repr(reader):
                await asyncio.sleep(0)
            try:
                await writer.start_tls(certificates.server())
                outcome.set_result(await reader.readline())
            except BaseException as error:
                outcome.set_exception(error)
            writer.close()

        server = await start_server(serve, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(certificates.client(), server_hostname="localhost")
        writer.write(b"line\n")
        assert await outcome == b"line\n"
        writer.close()
        server.close()

    loop = ferrio.new_event_loop()
    run(loop, main(loop))


def _readable(connection):
    import select

    return bool(select.select([connection], [], [], 5)[0])


def test_transport_of_another(engine, certificates):
    """Any transport that says it can: ferrio's TLS speaks through it."""

    class Through(asyncio.Transport):
        _start_tls_compatible = True

        def __init__(self, transport):
            super().__init__()
            self.inner, self.written = transport, 0

        def write(self, data):
            self.written += len(data)
            self.inner.write(data)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def set_protocol(self, protocol):
            self.inner.set_protocol(protocol)

        def pause_reading(self):
            self.inner.pause_reading()

        def resume_reading(self):
            self.inner.resume_reading()

        def close(self):
            self.inner.close()

        def get_extra_info(self, name, default=None):
            return self.inner.get_extra_info(name, default)

    def serve(connection):
        with certificates.server().wrap_socket(connection, server_side=True) as tls:
            tls.sendall(tls.recv(100))
            with contextlib.suppress(OSError):
                tls.unwrap()

    async def main(loop, address):
        transport, diary = await loop.create_connection(Diary, *address)
        through = Through(transport)
        transport = await loop.start_tls(
            through, diary, certificates.client(), server_hostname="localhost"
        )
        transport.write(b"hello")
        assert await diary.receive(5) == b"hello"
        await diary.lost
        return through.written

    with listening(serve) as address:
        loop = ferrio.new_event_loop()
        assert run(loop, main(loop, address)) > 5


@pytest.mark.parametrize("what", ["context", "transport", "handshake"])
def test_refused(certificates, what):
    def scenario(make_loop):
        def serve(connection):
            with contextlib.suppress(OSError):
                connection.sendall(b"no TLS here")
                receive_all(connection)

        async def main(loop, address):
            transport, diary = await loop.create_connection(asyncio.Protocol, *address)
            subject = asyncio.Transport() if what == "transport" else transport
            context = "no context" if what == "context" else certificates.client()
            with pytest.raises((TypeError, OSError)) as caught:
                await loop.start_tls(subject, diary, context, server_hostname="localhost")
            assert transport.is_closing() == (what == "handshake")
            transport.abort()
            return words(caught.value).split(" at 0x")[0]

        with listening(serve) as address:
            loop = make_loop()
            return run(loop, main(loop, address))

    assert "Error" in on_each(scenario)


def test_streams(make_loop, certificates):
    """`StreamWriter.start_tls`, and `connect_accepted_socket`."""

    async def main(loop):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            connecting = asyncio.open_connection(*listener.getsockname())
            reader, writer = await connecting
            accepted, _ = listener.accept()
        accepted.setblocking(False)
        served = loop.create_task(
            loop.connect_accepted_socket(Diary, accepted, ssl=certificates.server())
        )
        await writer.start_tls(certificates.client(), server_hostname="localhost")
        server_transport, diary = await served
        writer.write(b"hello")
        assert await diary.receive(5) == b"hello"
        server_transport.write(b"line\n")
        assert await reader.readline() == b"line\n"
        server_transport.close()
        assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ssl.SSLError):
            await writer.wait_closed()

    loop = make_loop()
    run(loop, main(loop))
