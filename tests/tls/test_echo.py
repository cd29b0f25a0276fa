"""Connections that go well: what goes in comes out, and `get_extra_info` tells about it."""

import _ssl
import asyncio
import ctypes
import shutil
import ssl
from typing import Any

import pytest

from .support import TLS12, TLS13, Certificates, Diary, listening, run


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(1000)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        # asyncio takes slices of it, which of a bytearray would be copies.
        return memoryview(self.buffer)

    def buffer_updated(self, count: int) -> None:
        self.transport.write(self.buffer[:count])


async def connected(certificates: Certificates, server_protocol: Any, **options: Any) -> Any:
    """A server and a connected client of it: the server, the transport, the protocol."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        server_protocol, "127.0.0.1", 0, ssl=options.pop("server", certificates.server())
    )
    port = server.sockets[0].getsockname()[1]
    transport, protocol = await loop.create_connection(
        options.pop("protocol", Diary),
        "127.0.0.1",
        port,
        ssl=options.pop("client", certificates.client()),
        server_hostname=options.pop("server_hostname", "localhost"),
        **options,
    )
    return server, transport, protocol


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("size", [1, 1024, 16384, 16385, 65536, 300_000, 8 << 20])
@pytest.mark.parametrize("echo", [Echo, BufferedEcho])
def test_echo(make_loop, certificates, size, version, echo):
    message = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    async def main():
        server, transport, protocol = await connected(
            certificates, echo, client=certificates.client(**version)
        )
        transport.write(message)
        assert await protocol.receive(size) == message
        transport.close()
        await protocol.lost
        server.close()
        return protocol.lines

    assert "connection_lost None" in run(make_loop(), main())


# `_ssl` itself takes them for the connection's.
@pytest.mark.parametrize("make_loop", ["openssl"], indirect=True)
def test_errors_that_others_left_with_openssl_are_not_the_connections(make_loop, certificates):
    """`SSL_get_error` looks at a queue of the thread's, where another user of the library may have left something."""
    library = ctypes.CDLL(_ssl.__file__)
    try:
        new, put = library.ERR_new, library.ERR_set_error
    except AttributeError:
        pytest.skip("OpenSSL before 3.0")
    size = 2 << 20
    message = bytes(range(256)) * (size // 256)

    class Careless(Echo):
        def data_received(self, data: bytes) -> None:
            new()
            put(20, 1, None)
            super().data_received(data)
            new()
            put(20, 1, None)

    async def main():
        server, transport, protocol = await connected(certificates, Careless)
        transport.write(message)
        assert await protocol.receive(size) == message
        transport.close()
        await protocol.lost
        server.close()
        return protocol.lines

    assert "connection_lost None" in run(make_loop(), main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_many_writes_of_a_turn_arrive_in_order(make_loop, certificates, kind):
    parts = [bytes([n % 256]) * (n * 37 % 9000 + 1) for n in range(200)]

    async def main():
        server, transport, protocol = await connected(certificates, Echo)
        for part in parts[:100]:
            transport.write(kind(part))
        transport.writelines(map(kind, parts[100:]))
        expected = b"".join(parts)
        assert await protocol.receive(len(expected)) == expected
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())


def test_writes_of_one_turn_share_records(engine, certificates):
    """The first write leaves at once, those after it together: two records for a hundred writes."""
    import ferrio

    lengths = []

    def serve(connection):
        with certificates.server().wrap_socket(connection, server_side=True) as tls:
            while data := tls.recv(65536):
                lengths.append(len(data))

    async def main(address):
        transport, protocol = await asyncio.get_running_loop().create_connection(
            Diary, *address, ssl=certificates.client(), server_hostname="localhost"
        )
        for _ in range(100):
            transport.write(b"x" * 100)
        transport.close()
        await protocol.lost

    with listening(serve) as address:
        run(ferrio.new_event_loop(), main(address))
    assert lengths == [100, 9900]


def test_write_refuses_what_is_no_bytes(make_loop, certificates):
    async def main():
        server, transport, protocol = await connected(certificates, Echo)
        with pytest.raises(TypeError) as caught:
            transport.write("text")
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        assert transport.can_write_eof() is False
        transport.close()
        await protocol.lost
        server.close()
        return str(caught.value)

    assert run(make_loop(), main()) == "data: expecting a bytes-like instance, got str"


def test_extra_info(make_loop, certificates):
    async def main():
        server_context, client_context = certificates.server(), certificates.client()
        server, transport, protocol = await connected(
            certificates, Echo, server=server_context, client=client_context
        )
        info = transport.get_extra_info
        assert info("sslcontext") is client_context
        assert type(info("ssl_object")) is ssl.SSLObject
        assert info("ssl_object").version() == "TLSv1.3"
        assert info("ssl_object").server_hostname == "localhost"
        assert info("cipher") == info("ssl_object").cipher()
        assert info("peercert") == info("ssl_object").getpeercert()
        assert ("DNS", "localhost") in info("peercert")["subjectAltName"]
        assert info("compression", "none") is None
        assert info("peername") == server.sockets[0].getsockname()
        assert info("sockname")[0] == "127.0.0.1"
        assert info("socket").fileno() >= 0
        assert info("unheard of", 7) == 7
        assert isinstance(transport, asyncio.Transport)
        assert transport.get_protocol() is protocol
        transport.close()
        await protocol.lost
        assert info("cipher")[1] == "TLSv1.3"
        assert info("peername", "gone") == "gone"
        assert transport.get_protocol() is None
        server.close()

    run(make_loop(), main())


def test_alpn(make_loop, certificates):
    async def main():
        server_context, client_context = certificates.server(), certificates.client()
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client_context.set_alpn_protocols(["http/1.1"])
        server, transport, protocol = await connected(
            certificates, Echo, server=server_context, client=client_context
        )
        selected = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        transport.close()
        await protocol.lost
        server.close()
        return selected

    assert run(make_loop(), main()) == "http/1.1"


def test_sni_callback_swaps_the_context(make_loop, certificates):
    asked = []

    async def main():
        first, second = certificates.server("other"), certificates.server("server")

        def choose(ssl_object, name, context):
            asked.append((type(ssl_object), name, context is first))
            ssl_object.context = second

        first.sni_callback = choose
        server, transport, protocol = await connected(certificates, Echo, server=first)
        transport.write(b"hello")
        await protocol.receive(5)
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())
    assert asked == [(ssl.SSLObject, "localhost", True)]


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_client_certificate(make_loop, certificates, version):
    seen = asyncio.Queue()

    class Server(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.put_nowait(transport.get_extra_info("peercert"))

    async def main():
        server_context = certificates.server(verify_mode=ssl.CERT_REQUIRED, **version)
        server_context.load_verify_locations(certificates.folder / "authority.pem")
        client_context = certificates.client()
        client_context.load_cert_chain(certificates.folder / "client.pem")
        server, transport, protocol = await connected(
            certificates, Server, server=server_context, client=client_context
        )
        transport.write(b"hello")
        await protocol.receive(5)
        transport.close()
        await protocol.lost
        server.close()
        return await seen.get()

    certificate = run(make_loop(), main())
    assert ("DNS", "client.example") in certificate["subjectAltName"]


def test_key_log(make_loop, certificates, tmp_path):
    path = tmp_path / "keys"

    async def main():
        server, transport, protocol = await connected(
            certificates, Echo, client=certificates.client(keylog_filename=str(path))
        )
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())
    labels = {line.split()[0] for line in path.read_text().splitlines() if line[0] != "#"}
    assert "CLIENT_HANDSHAKE_TRAFFIC_SECRET" in labels


def test_message_callback(make_loop, certificates):
    """A private callback of the ssl module's, whose errors only its own methods raise."""
    messages = []

    async def main():
        context = certificates.client()
        context._msg_callback = lambda *message: messages.append(message[1])
        server, transport, protocol = await connected(certificates, Echo, client=context)
        transport.write(b"hello")
        await protocol.receive(5)
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())
    assert {"read", "write"} <= set(messages)


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_session_reuse(make_loop, certificates, version):
    """The session of a connection serves a later one; a subclass of SSLContext hands it over."""

    class Resuming(ssl.SSLContext):
        last = None

        def wrap_bio(self, incoming, outgoing, server_side=False, server_hostname=None):
            return super().wrap_bio(
                incoming, outgoing, server_side, server_hostname, session=self.last
            )

    async def main():
        context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificates.folder / "authority.pem")
        for name, value in version.items():
            setattr(context, name, value)
        reused = []
        server_context = certificates.server()
        for _ in range(2):
            server, transport, protocol = await connected(
                certificates, Echo, server=server_context, client=context
            )
            transport.write(b"hello")
            await protocol.receive(5)
            ssl_object = transport.get_extra_info("ssl_object")
            reused.append(ssl_object.session_reused)
            context.last = ssl_object.session
            transport.close()
            await protocol.lost
            server.close()
        return reused

    assert run(make_loop(), main()) == [False, True]


def test_class_of_the_users_own_is_called(make_loop, certificates):
    calls = []

    class Watched(ssl.SSLObject):
        def read(self, *args):
            calls.append("read")
            return super().read(*args)

        def write(self, data):
            calls.append("write")
            return super().write(data)

    async def main():
        server, transport, protocol = await connected(
            certificates, Echo, client=certificates.client(sslobject_class=Watched)
        )
        transport.write(b"hello")
        await protocol.receive(5)
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())
    assert {"read", "write"} <= set(calls)


def test_key_log_of_a_server(make_loop, certificates, tmp_path):
    path = tmp_path / "keys"

    async def main():
        context = certificates.server(keylog_filename=str(path))
        server, transport, protocol = await connected(certificates, Echo, server=context)
        transport.write(b"hello")
        await protocol.receive(5)
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())
    labels = {line.split()[0] for line in path.read_text().splitlines() if line[0] != "#"}
    assert {"SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0"} <= labels


@pytest.mark.skipif(not getattr(ssl, "HAS_PSK", False), reason="no keys known before, in this ssl")
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_keys_known_before(make_loop, certificates, version):
    """No certificates: both sides have a key, which callbacks tell."""
    asked = []

    def client_key(hint):
        asked.append(("client", hint))
        return "me", b"\x01" * 16

    def server_key(identity):
        asked.append(("server", identity))
        return b"\x01" * 16

    async def main():
        contexts = []
        for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
            context = ssl.SSLContext(protocol)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_ciphers("PSK")
            for name, value in version.items():
                setattr(context, name, value)
            contexts.append(context)
        contexts[0].set_psk_server_callback(server_key, "hint")
        contexts[1].set_psk_client_callback(client_key)
        server, transport, protocol = await connected(
            certificates, Echo, server=contexts[0], client=contexts[1]
        )
        transport.write(b"hello")
        await protocol.receive(5)
        transport.close()
        await protocol.lost
        server.close()

    run(make_loop(), main())
    assert {side for side, _ in asked} == {"client", "server"}
    assert ("server", "me") in asked


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
def test_a_renegotiation_is_refused(make_loop, certificates):
    """A peer that asks for another handshake in TLS 1.2 is told no, and the connection ends."""
    accepted = []

    def accept():
        accepted.append(Diary())
        return accepted[-1]

    async def main(loop):
        context = certificates.server(**TLS12)
        server = await loop.create_server(accept, "127.0.0.1", 0, ssl=context)
        host, port = server.sockets[0].getsockname()
        client = await asyncio.create_subprocess_exec(
            *["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2"],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        while not accepted:
            await asyncio.sleep(0.001)
        await accepted[0].made
        client.stdin.write(b"R\n")
        said = b""
        while piece := await client.stdout.read(1000):
            said += piece
        await client.wait()
        await accepted[0].lost
        server.close()
        return said.decode()

    loop = make_loop()
    assert "no renegotiation" in run(loop, main(loop)), "the client was told"
    assert accepted[0].lines[0] == "connection_made"
    assert accepted[0].lines[-1].startswith("connection_lost")
    assert not accepted[0].received
