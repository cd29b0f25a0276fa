"""Every way a connection can end, on asyncio's loop and on ferrio's: the calls and the log."""

import asyncio
import contextlib
import re
import socket
import ssl
import threading

import ferrio
import pytest

from .support import (
    PATIENCE,
    TLS12,
    TLS13,
    Diary,
    Log,
    in_thread,
    listening,
    receive_all,
    run as run_loop,
)
from .test_handshake import on_each

# What OpenSSL 3.6 says of a bad record, whatever is bad about it.
ANY_BAD_RECORD = "RECORD_LAYER_FAILURE"
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


class Greeting(Diary):
    """Does something when the peer has said hello."""

    def __init__(self, reaction):
        super().__init__()
        self.reaction = reaction

    def data_received(self, data):
        super().data_received(data)
        if self.received == b"hello":
            self.reaction(self)


def outcome(certificates, peer, act, version=TLS13, protocol=Diary, **options):
    """What a client's protocol sees, and what is logged.

    `peer` has the other end of the connection, as an `ssl.SSLSocket` in a thread, and its result
    comes along; the coroutine `act` has the transport.
    """

    def scenario(make_loop):
        results = []

        def serve(connection):
            context = certificates.server(**version)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            tls = context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
            try:
                results.append(peer(tls))
            except OSError as error:
                results.append(type(error).__name__)
            finally:
                tls.close()

        async def main(loop, address):
            log = Log(loop)
            transport, diary = await loop.create_connection(
                protocol,
                *address,
                ssl=certificates.client(),
                server_hostname="localhost",
                **options,
            )
            await act(transport, diary)
            await diary.lost
            assert transport.is_closing()
            return diary.lines, bytes(diary.received), log.lines

        with listening(serve) as address:
            loop = make_loop()
            record = run_loop(loop, main(loop, address))
        return *record, results

    return on_each(scenario)


def read_all(tls):
    """The bytes to the `close_notify`, and then whether the connection ended behind it."""
    received = receive_all(tls)
    with contextlib.suppress(OSError):
        tls.unwrap()
    return len(received)


async def nothing(_transport, _diary):
    """Let the peer act."""


@VERSIONS
def test_close(certificates, version):
    async def act(transport, diary):
        transport.write(b"bye")
        transport.close()
        transport.close()

    lines, _, log, results = outcome(certificates, read_all, act, version)
    assert lines == ["connection_made", "eof_received", "connection_lost None"]
    assert log == []
    assert results == [3]


@VERSIONS
def test_close_with_much_to_send(certificates, version):
    """All of it arrives before the end."""

    async def act(transport, diary):
        transport.write(b"x" * (4 << 20))
        transport.close()
        transport.write(b"too late")

    lines, _, _, results = outcome(certificates, read_all, act, version)
    assert results == [4 << 20]
    assert lines[-1] == "connection_lost None"


@VERSIONS
def test_peer_closes(certificates, version):
    def peer(tls):
        tls.sendall(b"hello")
        tls.unwrap()

    lines, received, log, _ = outcome(certificates, peer, nothing, version)
    assert lines == ["connection_made", "data_received", "eof_received", "connection_lost None"]
    assert received == b"hello"
    assert log == []


def test_peer_closes_in_the_same_flight(certificates):
    """Data and `close_notify` come in one piece."""

    def peer(tls):
        tls.recv(5)
        tls.setblocking(False)
        tls.send(b"hello")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()

    async def act(transport, diary):
        transport.write(b"begin")

    lines, received, _, _ = outcome(certificates, peer, act, TLS12)
    assert received == b"hello"
    assert lines[-2:] == ["eof_received", "connection_lost None"]


@VERSIONS
def test_truncation(certificates, version):
    """The peer ends without `close_notify`, which asyncio takes for an end like another."""

    def peer(tls):
        tls.sendall(b"hello")
        with socket.socket(fileno=tls.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            plain.settimeout(5)
            with contextlib.suppress(OSError):
                receive_all(plain)

    lines, received, _, _ = outcome(certificates, peer, nothing, version)
    assert received == b"hello"
    assert "eof_received" in lines
    assert lines[-1] == "connection_lost None"


@VERSIONS
def test_garbage_after_the_handshake(certificates, version):
    def peer(tls):
        with socket.socket(fileno=tls.detach()) as plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
            plain.settimeout(5)
            with contextlib.suppress(OSError):
                receive_all(plain)

    lines, _, log, _ = outcome(certificates, peer, nothing, version)
    assert re.search(f"DECRYPTION_FAILED_OR_BAD_RECORD_MAC|{ANY_BAD_RECORD}", lines[-1])
    assert log == []


def test_record_of_the_wrong_version(certificates):
    def peer(tls):
        with socket.socket(fileno=tls.detach()) as plain:
            plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            plain.settimeout(5)
            with contextlib.suppress(OSError):
                receive_all(plain)

    lines, _, _, _ = outcome(certificates, peer, nothing, TLS12)
    assert re.search(f"WRONG_VERSION_NUMBER|{ANY_BAD_RECORD}", lines[-1])


def test_fatal_alert(certificates):
    """TLS 1.3: the server finds out after the client's handshake that it has no certificate."""

    def scenario(make_loop):
        async def main(loop):
            log = Log(loop)
            context = certificates.server(verify_mode=ssl.CERT_REQUIRED, **TLS13)
            context.load_verify_locations(certificates.folder / "authority.pem")
            with socket.create_server(("127.0.0.1", 0)) as listener:

                def serve():
                    connection, _ = listener.accept()
                    with contextlib.suppress(ssl.SSLError):
                        context.wrap_socket(connection, server_side=True)
                    with connection:
                        pass

                serving = in_thread(serve)
                _, diary = await loop.create_connection(
                    Diary,
                    *listener.getsockname(),
                    ssl=certificates.client(),
                    server_hostname="localhost",
                )
                await diary.lost
                await serving
            return diary.lines, log.lines

        loop = make_loop()
        return run_loop(loop, main(loop))

    lines, _ = on_each(scenario)
    assert "TLSV13_ALERT_CERTIFICATE_REQUIRED" in lines[-1]


def test_reset(certificates):
    def peer(tls):
        tls.sendall(b"hello")
        tls.recv(1)
        tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async def act(transport, diary):
        await diary.receive(5)
        transport.write(b"x")

    lines, _, _, _ = outcome(certificates, peer, act)
    assert lines[-1].startswith("connection_lost ConnectionResetError")


def test_abort(certificates):
    async def act(transport, diary):
        transport.write(b"x" * (4 << 20))
        transport.abort()
        transport.abort()
        for _ in range(7):
            transport.write(b"too late")

    def peer(tls):
        with contextlib.suppress(OSError):
            receive_all(tls)

    lines, _, log, _ = outcome(certificates, peer, act)
    assert lines[-1] == "connection_lost None"
    assert log == []


def test_shutdown_timeout(certificates):
    def peer(tls):
        # Sees the close_notify, and answers nothing.
        receive_all(tls)
        with socket.socket(fileno=tls.detach()) as plain:
            plain.settimeout(5)
            # What the client had not read yet makes it a reset.
            with contextlib.suppress(OSError):
                receive_all(plain)

    async def act(transport, diary):
        transport.close()

    lines, _, log, _ = outcome(certificates, peer, act, ssl_shutdown_timeout=0.05)
    assert "connection_lost TimeoutError: SSL shutdown timed out" in lines[-1]
    assert log == []


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_protocol_that_fails(certificates, error, method):
    class Failing(Diary):
        def data_received(self, data):
            super().data_received(data)
            if method == "data_received":
                raise error("why")

        def eof_received(self):
            super().eof_received()
            if method == "eof_received":
                raise error("why")

    def peer(tls):
        tls.sendall(b"hello")
        tls.unwrap()

    lines, _, _, _ = outcome(certificates, peer, nothing, TLS12, Failing)
    assert lines[-1].startswith(f"connection_lost {error.__name__}")


@pytest.mark.parametrize("reaction", ["close", "abort", "pause_reading"])
def test_reaction_in_data_received(certificates, reaction):
    def react(diary):
        getattr(diary.transport, reaction)()

    def peer(tls):
        tls.sendall(b"hello")
        return read_all(tls)

    async def act(transport, diary):
        await diary.receive(5)
        transport.close()

    lines, received, log, _ = outcome(
        certificates, peer, act, TLS12, lambda: Greeting(react), ssl_shutdown_timeout=5
    )
    assert received == b"hello"
    assert lines[-1] == "connection_lost None"
    assert log == []


def test_true_from_eof_received_has_no_effect(certificates, caplog):
    class Keeping(Diary):
        def eof_received(self):
            super().eof_received()
            return True

    def peer(tls):
        tls.unwrap()

    lines, _, _, _ = outcome(certificates, peer, nothing, TLS12, Keeping)
    assert lines[-1] == "connection_lost None"
    message = "returning true from eof_received() has no effect when using ssl"
    assert [record.message for record in caplog.records].count(message) == 3


def test_writes_to_a_lost_connection_are_warned_of(make_loop, certificates, caplog):
    def serve(connection):
        certificates.server().wrap_socket(connection, server_side=True).close()

    async def main(loop, address):
        transport, diary = await loop.create_connection(
            Diary, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        await diary.lost
        for _ in range(7):
            transport.write(b"too late")

    with listening(serve) as address:
        loop = make_loop()
        run_loop(loop, main(loop, address))
    assert [record.message for record in caplog.records].count("SSL connection is closed") == 3


def test_a_peer_that_ends_and_does_not_read(engine, certificates):
    """`ssl_shutdown_timeout` counts also after the peer's end, while bytes are queued that it doesn't take."""
    filled, over = threading.Event(), threading.Event()

    def serve(connection):
        tls = certificates.server().wrap_socket(connection, server_side=True)
        with tls:
            filled.wait(PATIENCE)
            tls.shutdown(socket.SHUT_WR)
            over.wait(PATIENCE)

    async def main(loop, address):
        transport, diary = await loop.create_connection(
            Diary,
            *address,
            ssl=certificates.client(),
            server_hostname="localhost",
            ssl_shutdown_timeout=0.1,
        )
        try:
            while "pause_writing" not in diary.lines:
                transport.write(bytes(1 << 20))
                await asyncio.sleep(0)
            filled.set()
            await asyncio.wait_for(diary.lost, PATIENCE)
        finally:
            filled.set()
            over.set()
            transport.abort()
        assert diary.lines[-1].startswith("connection_lost TimeoutError: SSL shutdown timed out")

    with listening(serve) as address:
        loop = ferrio.new_event_loop()
        run_loop(loop, main(loop, address))
