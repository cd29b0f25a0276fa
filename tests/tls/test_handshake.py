"""Handshakes that fail, on asyncio's loop and on ferrio's: what is raised, logged and told."""

import asyncio
import contextlib
import gc
import socket
import ssl
import warnings

import ferrio
import pytest
from ferrio import _ferrio

from .support import (
    ENGINES,
    TLS12,
    TLS13,
    Diary,
    Log,
    in_thread,
    listening,
    receive_all,
    run,
    words,
)


def on_each(scenario):
    """The scenario's record on asyncio, and on each engine: all equal. Return it."""
    records = {"asyncio": scenario(asyncio.SelectorEventLoop)}
    before = _ferrio._tls_engine
    try:
        for engine in ENGINES if _ferrio.best_tls_engine() == "openssl" else ENGINES[1:]:
            _ferrio._tls_engine = engine
            records[engine] = scenario(ferrio.new_event_loop)
    finally:
        _ferrio._tls_engine = before
    for engine, record in records.items():
        assert record == records["asyncio"], engine
    return records["asyncio"]


def wrapped(context, **options):
    """A peer that shakes hands, whatever comes of it."""

    def serve(connection):
        with contextlib.suppress(OSError), context.wrap_socket(connection, **options) as tls:
            receive_all(tls)

    return serve


def saying(data):
    """A peer that says this and ends."""

    def serve(connection):
        connection.recv(65536)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            receive_all(connection)

    return serve


def client_fails(peer, context, debug=False, **options):
    """What a client sees of a handshake with `peer` that fails."""

    def scenario(make_loop):
        async def main(loop, address):
            log = Log(loop)
            diary = Diary()
            loop.set_debug(debug)
            options.setdefault("server_hostname", "localhost")
            with pytest.raises((OSError, ValueError)) as caught:
                await loop.create_connection(lambda: diary, *address, ssl=context(), **options)
            await asyncio.sleep(0)
            return words(caught.value), diary.lines, log.lines

        with listening(peer) as address:
            loop = make_loop()
            return run(loop, main(loop, address))

    return on_each(scenario)


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_unknown_authority(certificates, version):
    peer = wrapped(certificates.server("stranger"), server_side=True)
    error, lines, _ = client_fails(peer, lambda: certificates.client(**version))
    assert "verify_code=20" in error
    assert "CERTIFICATE_VERIFY_FAILED" in error
    assert lines == []


def test_host_name_mismatch(certificates):
    peer = wrapped(certificates.server("other"), server_side=True)
    error, _, _ = client_fails(peer, certificates.client)
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in error


def test_no_version_in_common(certificates):
    peer = wrapped(certificates.server(**TLS12), server_side=True)
    error, _, _ = client_fails(peer, lambda: certificates.client(**TLS13))
    assert "TLSV1_ALERT_PROTOCOL_VERSION" in error


def test_no_cipher_in_common(certificates):
    def server():
        context = certificates.server(**TLS12)
        context.set_ciphers("ECDHE+AESGCM")
        return context

    def client():
        context = certificates.client(**TLS12)
        context.set_ciphers("ECDHE+CHACHA20")
        return context

    error, _, _ = client_fails(wrapped(server(), server_side=True), client)
    assert "HANDSHAKE_FAILURE" in error


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 100,
        b"\x16\x03\x03\x00\x04\x02\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"",
    ],
    ids=["plain HTTP", "garbage", "truncated", "alert", "nothing"],
)
@pytest.mark.parametrize("debug", [False, True])
def test_answer_that_is_no_handshake(certificates, answer, debug):
    error, lines, _ = client_fails(saying(answer), certificates.client, debug)
    assert "Error" in error
    assert lines == []


def test_handshake_timeout(certificates):
    def serve(connection):
        receive_all(connection)

    error, lines, _ = client_fails(serve, certificates.client, ssl_handshake_timeout=0.05)
    assert error.startswith(
        "ConnectionAbortedError: SSL handshake is taking longer than 0.05 seconds: "
        "aborting the connection"
    )
    assert lines == []


@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("value", [0, -1.5])
def test_timeouts_are_positive(certificates, option, value):
    # The peer doesn't wait: asyncio leaves the socket to the garbage collector.
    error, _, _ = client_fails(socket.socket.close, certificates.client, **{option: value})
    assert error.startswith(f"ValueError: {option} should be a positive number, got {value}")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "hello",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 50, b"\x16\x03\x01\x02\x00\x01", b""],
    ids=["plain HTTP", "garbage", "truncated", "nothing"],
)
def test_server_survives_what_is_no_hello(certificates, hello, debug):
    """And serves the next client; debug mode alone reports."""

    def scenario(make_loop):
        async def main(loop):
            log = Log(loop)
            loop.set_debug(debug)
            diaries = []

            def factory():
                diaries.append(Diary())
                return diaries[-1]

            server = await loop.create_server(factory, "127.0.0.1", 0, ssl=certificates.server())
            address = server.sockets[0].getsockname()

            def knock():
                with socket.create_connection(address) as peer:
                    peer.sendall(hello)
                    peer.shutdown(socket.SHUT_WR)
                    with contextlib.suppress(OSError):
                        receive_all(peer)

            await in_thread(knock)
            transport, protocol = await loop.create_connection(
                Diary, *address, ssl=certificates.client(), server_hostname="localhost"
            )
            transport.write(b"hello")
            await diaries[1].receive(5)
            transport.close()
            await protocol.lost
            await diaries[1].lost
            server.close()
            return [diary.lines for diary in diaries], log.lines

        loop = make_loop()
        return run(loop, main(loop))

    lines, log = on_each(scenario)
    assert lines[0] == []
    assert bool(log) == debug


def test_server_refuses_a_client_without_certificate(certificates):
    def scenario(make_loop):
        async def main(loop):
            log = Log(loop)
            loop.set_debug(True)
            diaries = []

            def factory():
                diaries.append(Diary())
                return diaries[-1]

            context = certificates.server(verify_mode=ssl.CERT_REQUIRED, **TLS12)
            context.load_verify_locations(certificates.folder / "authority.pem")
            server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await loop.create_connection(
                    Diary,
                    *server.sockets[0].getsockname(),
                    ssl=certificates.client(),
                    server_hostname="localhost",
                )
            server.close()
            return diaries[0].lines, [line for line in log.lines if "SSLError" in line]

        loop = make_loop()
        return run(loop, main(loop))

    lines, log = on_each(scenario)
    assert lines == []
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in log[0]


def test_sni_callback_that_fails(certificates):
    def scenario(make_loop):
        async def main(loop):
            context = certificates.server()

            def choose(ssl_object, name, context):
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

            context.sni_callback = choose
            server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=context)

            def knock():
                try:
                    with socket.create_connection(server.sockets[0].getsockname()) as peer:
                        certificates.client().wrap_socket(peer, server_hostname="localhost")
                except OSError as error:
                    return type(error).__name__

            outcome = await in_thread(knock)
            server.close()
            return outcome

        loop = make_loop()
        return run(loop, main(loop))

    on_each(scenario)


def test_cancelled_handshake_closes_the_socket(engine, certificates):
    """The peer sees the end; nothing is left open."""

    def serve(connection):
        connection.recv(65536)
        begun.set_result_threadsafe()
        receive_all(connection)

    class Begun:
        def set_result_threadsafe(self):
            loop.call_soon_threadsafe(self.future.set_result, None)

    begun = Begun()
    loop = ferrio.new_event_loop()

    async def main(address):
        begun.future = loop.create_future()
        task = loop.create_task(
            loop.create_connection(
                Diary, *address, ssl=certificates.client(), server_hostname="localhost"
            )
        )
        await begun.future
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(3):
            await asyncio.sleep(0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with listening(serve) as address:
            run(loop, main(address))
        gc.collect()
