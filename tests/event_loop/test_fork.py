"""Forks while a loop runs: the child can run a loop, and whatever it does, the parent's goes on."""

import asyncio
import multiprocessing
import textwrap
from concurrent.futures import ProcessPoolExecutor

import ferrio
import pytest

from tests.children import run_code

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork"
)

# Each program forks a child out of a callback of its loop. There is an echo server with a connection on either side.
PRELUDE = """
import asyncio, gc, os, signal, socket, sys, threading, warnings
import ferrio

warnings.simplefilter("ignore")

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transports.append(transport)
    def data_received(self, data):
        self.transport.write(data)

async def echoed(data, host="127.0.0.1"):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    writer.close()
    await writer.wait_closed()

async def ended(pid):
    # In a thread, so that this loop waits for its own events meanwhile.
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return os.waitstatus_to_exitcode(status)

async def main():
    global port, server
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"before")
    assert await reader.readexactly(6) == b"before"
    transports.append(writer.transport)
    forked = loop.create_future()
    def fork():
        pid = os.fork()
        if pid == 0:
            try:
                child(loop)
                gc.collect()
                os._exit(0)
            except Exception:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
        forked.set_result(pid)
    loop.call_soon(fork)
    assert await ended(await forked) == 0
    # What was there before works still, and so does what is new.
    writer.write(b"after")
    assert await reader.readexactly(5) == b"after"
    await echoed(b"new")
    loop.call_later(0.001, transports.append, None)
    await parent(loop)
    writer.close()
    server.close()

async def parent(loop):
    pass

transports = []
"""

CHILDREN = {
    "runs a loop of its own": """
        def child(loop):
            async def main():
                global port
                assert asyncio.get_running_loop() is not loop
                server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
                port = server.sockets[0].getsockname()[1]
                await echoed(b"of the child")
                await asyncio.sleep(0.001)
                assert await asyncio.to_thread(lambda: 5) == 5
                server.close()
            ferrio.run(main())
    """,
    "closes what it inherited": """
        def child(loop):
            server.close()
            for transport in transports:
                transport.abort()
    """,
    "closes the descriptors that it inherited": """
        def child(loop):
            for transport in transports:
                os.close(transport.get_extra_info("socket").fileno())
    """,
    "lets go of what it inherited": """
        def child(loop):
            transports.clear()
            loop.remove_reader(0)
    """,
    "registers with the loop that it inherited": """
        def child(loop):
            global ends
            ends = socket.socketpair()
            loop.add_reader(ends[0], print)
            for transport in transports:
                transport.pause_reading()
    """,
    "calls the loop that it inherited from a thread": """
        def child(loop):
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(print,))
            thread.start()
            thread.join()
    """,
    "handles signals": """
        def child(loop):
            async def main():
                loop = asyncio.get_running_loop()
                got = loop.create_future()
                loop.add_signal_handler(signal.SIGUSR1, got.set_result, None)
                loop.add_signal_handler(signal.SIGUSR2, print)
                os.kill(os.getpid(), signal.SIGUSR1)
                await got
                os.kill(os.getpid(), signal.SIGUSR2)
                await asyncio.sleep(0)
            signal.signal(signal.SIGUSR2, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGUSR1)
            ferrio.run(main())

        signals = []

        async def parent(loop):
            assert signals == []
            os.kill(os.getpid(), signal.SIGUSR1)
            while not signals:
                await asyncio.sleep(0)
            assert signals == [1]

        before = main

        async def main():
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, signals.append, 1)
            await before()
    """,
}


@pytest.mark.parametrize("name", CHILDREN)
def test_the_parent_goes_on_when_its_child(name: str) -> None:
    run_code(PRELUDE + textwrap.dedent(CHILDREN[name]) + "\nferrio.run(main())\n")


GOES_ON = """
async def main():
    global port
    loop = asyncio.get_running_loop()
    handled = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, handled.set_result, "handled")
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    reading = asyncio.ensure_future(loop.sock_recv(ours, 100))
    await asyncio.sleep(0)
    pid = os.fork()
    # Both go on from here, on what each takes for the same loop.
    asyncio._set_running_loop(loop)
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for number in range(20):
        await echoed(b"%d" % number)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: 5), 10) == 5
    os.kill(os.getpid(), signal.SIGUSR1)
    assert await asyncio.wait_for(handled, 10) == "handled"
    server.close()
    loop.remove_signal_handler(signal.SIGUSR1)
    if pid == 0:
        reading.cancel()
        print("child", flush=True)
    else:
        assert await ended(pid) == 0
        # The socket is both's: what the parent waited for has come to it.
        theirs.send(b"for the parent")
        assert await reading == b"for the parent"
        print("parent")

loop = ferrio.new_event_loop()
loop.run_until_complete(main())
loop.run_until_complete(loop.shutdown_default_executor())
loop.close()
"""


def test_a_child_can_go_on_with_the_loop() -> None:
    assert run_code(PRELUDE + GOES_ON) == "child\nparent\n"


def test_the_next_step_in_a_child_is_that_of_the_current_task() -> None:
    code = """
        async def main():
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            pid = os.fork()
            asyncio._set_running_loop(loop)
            await asyncio.sleep(0)
            assert asyncio.current_task() is task
            async with asyncio.timeout(60):
                await asyncio.sleep(0)
            if pid == 0:
                os._exit(0)
            assert await ended(pid) == 0
            print("parent")

        ferrio.run(main())
    """
    assert run_code(PRELUDE + textwrap.dedent(code)) == "parent\n"


def test_a_child_that_goes_on_with_the_loop_starts_threads_of_its_own() -> None:
    code = """
        async def main():
            loop = asyncio.get_running_loop()
            together = threading.Barrier(3)
            await asyncio.gather(*(loop.run_in_executor(None, together.wait) for _ in range(3)))
            # CPython 3.14 forgets in the child which task runs, and asyncio's wake-up after gather() asks for it.
            await asyncio.sleep(0)
            pid = os.fork()
            asyncio._set_running_loop(loop)
            if pid == 0:
                went = threading.Event()
                assert await loop.run_in_executor(None, int) == 0
                await asyncio.gather(
                    loop.run_in_executor(None, went.wait), loop.run_in_executor(None, went.set)
                )
                print("child", flush=True)
            else:
                assert await ended(pid) == 0
                print("parent")

        loop = ferrio.new_event_loop()
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
    """
    assert run_code(PRELUDE + textwrap.dedent(code)) == "child\nparent\n"


def test_what_waits_for_the_end_of_the_turn_is_sent_once() -> None:
    """Also when the child leaves through the loop, whose turn ends in both."""
    run_code(
        PRELUDE
        + textwrap.dedent("""
        async def main():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
            pid = []
            def fork():
                transport.write(b"one ")
                transport.write(b"two ")
                transport.write(b"three")
                pid.append(os.fork())
                if pid == [0]:
                    raise SystemExit
            loop.call_soon(fork)
            await asyncio.sleep(0)
            if pid == [0]:
                return
            assert await ended(pid[0]) == 0
            transport.close()
            await asyncio.sleep(0)
            data = b""
            while chunk := theirs.recv(100):
                data += chunk
            assert data == b"one two three", data
        ferrio.run(main())
    """)
    )


def _double(number: int) -> int:
    async def main() -> int:
        await asyncio.sleep(0)
        return 2 * number

    return ferrio.run(main())


def test_processes_of_multiprocessing_run_loops() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            return await asyncio.gather(
                *(loop.run_in_executor(executor, _double, number) for number in range(4))
            )

    assert ferrio.run(main()) == [0, 2, 4, 6]
