"""Nothing is left of many connections: no descriptor, no object, no memory."""

import asyncio
import gc
import os
import ssl
import sys
import warnings
import weakref

import ferrio
import pytest

from tests.interpreter import DEBUG_BUILD, LONG_RUNS

from .support import Diary, run

# A debug build is slow.
ROUNDS = 10_000 if LONG_RUNS else 500 if DEBUG_BUILD else 2_000


@pytest.mark.timeout(900)
def test_handshakes_leave_nothing(engine, certificates):
    async def main(loop):
        server_context, client_context = certificates.server(), certificates.client()
        server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=server_context)
        address = server.sockets[0].getsockname()

        async def rounds(count):
            for _ in range(count):
                transport, protocol = await loop.create_connection(
                    Diary, *address, ssl=client_context, server_hostname="localhost"
                )
                transport.write(b"x" * 100)
                transport.close()
                await protocol.lost
            gc.collect()

        # Enough to fill the freelists.
        await rounds(400)
        descriptors, blocks = len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()
        await rounds(ROUNDS)
        left = sys.getallocatedblocks() - blocks
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
        # One block a connection would be four times that.
        assert left < ROUNDS / 4
        server.close()

    loop = ferrio.new_event_loop()
    run(loop, main(loop), patience=850)


def test_failed_handshakes_leave_nothing(engine, certificates):
    async def main(loop):
        server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=certificates.server("other"))
        address, context = server.sockets[0].getsockname(), certificates.client()

        async def rounds(count):
            for _ in range(count):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await loop.create_connection(
                        Diary, *address, ssl=context, server_hostname="localhost"
                    )
            await asyncio.sleep(0.05)
            gc.collect()

        # Enough to fill the freelists.
        await rounds(200)
        descriptors, blocks = len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()
        await rounds(600)
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 2
        assert sys.getallocatedblocks() - blocks < 300
        server.close()

    loop = ferrio.new_event_loop()
    run(loop, main(loop))


def test_no_cycle_is_left(engine, certificates):
    """A connection that is over goes without the collector's help."""

    async def main(loop):
        server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=certificates.server())
        transport, protocol = await loop.create_connection(
            Diary,
            *server.sockets[0].getsockname(),
            ssl=certificates.client(),
            server_hostname="localhost",
        )
        transport.close()
        await protocol.lost
        ssl_object = weakref.ref(transport.get_extra_info("ssl_object"))
        gone = weakref.ref(transport)
        gc.disable()
        try:
            del transport, protocol
            await asyncio.sleep(0)
            assert gone() is None
            assert ssl_object() is None
        finally:
            gc.enable()
        server.close()

    loop = ferrio.new_event_loop()
    run(loop, main(loop))


def test_no_cycle_is_left_of_a_failed_start_tls(engine, certificates):
    async def main(loop):
        server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=certificates.server())

        async def fail():
            transport, protocol = await loop.create_connection(
                asyncio.Protocol, *server.sockets[0].getsockname()
            )
            with pytest.raises(ssl.SSLCertVerificationError):
                await loop.start_tls(
                    transport,
                    protocol,
                    certificates.client(trust=False),
                    server_hostname="localhost",
                )
            return weakref.ref(transport)

        gc.disable()
        try:
            gone = await fail()
            await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()
        server.close()

    loop = ferrio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # The server's side of it.
    run(loop, main(loop))


def test_cycles_are_collected(engine, certificates):
    """The collector sees what a transport holds: one never connected goes with its protocol."""
    loop = ferrio.new_event_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = certificates.client()
    ssl_object = context.wrap_bio(incoming, outgoing, server_hostname="localhost")

    class Holder(asyncio.Protocol):
        pass

    protocol = Holder()
    transport = loop._make_tls(protocol, context, ssl_object, incoming, outgoing, 1, 1)
    protocol.transport = transport
    gone = weakref.ref(protocol)
    transport._force_close(None)
    del protocol, transport
    gc.collect()
    assert gone() is None
    loop.close()


def test_unclosed_transport_warns(engine, certificates):
    loop = ferrio.new_event_loop()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = certificates.client()
    ssl_object = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    transport = loop._make_tls(asyncio.Protocol(), context, ssl_object, incoming, outgoing, 1, 1)
    with pytest.warns(ResourceWarning, match="unclosed transport <ferrio.SSLTransport"):
        del transport
    loop.close()


def test_failed_handshake_is_no_unclosed_transport(engine, certificates):
    """The error's traceback and the transport are a cycle, which the collector takes apart."""

    async def main(loop):
        server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=certificates.server("other"))
        with pytest.raises(ssl.SSLCertVerificationError):
            await loop.create_connection(
                Diary,
                *server.sockets[0].getsockname(),
                ssl=certificates.client(),
                server_hostname="localhost",
            )
        server.close()

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        loop = ferrio.new_event_loop()
        run(loop, main(loop))
        gc.collect()
    assert [str(warning.message) for warning in given] == []


def test_ssl_object_outlives_its_transport(engine, certificates):
    """Who keeps it can ask it, and finds no connection behind it."""

    async def main(loop):
        server = await loop.create_server(Diary, "127.0.0.1", 0, ssl=certificates.server())
        transport, protocol = await loop.create_connection(
            Diary,
            *server.sockets[0].getsockname(),
            ssl=certificates.client(),
            server_hostname="localhost",
        )
        ssl_object = transport.get_extra_info("ssl_object")
        transport.abort()
        await protocol.lost
        server.close()
        return ssl_object

    loop = ferrio.new_event_loop()
    ssl_object = run(loop, main(loop))
    del loop
    gc.collect()
    assert ssl_object.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLWantReadError):
        ssl_object.read(10)
    assert ssl_object.write(b"x" * 100_000) > 0
