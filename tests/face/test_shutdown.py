"""The interpreter ends with loops that are alive: it neither crashes nor hangs, and tells what it tells on asyncio."""

import textwrap
from pathlib import Path

import pytest

from ..children import FERRIO, PYTHON, run
from ..event_loop.differential import plain

PROGRAMS = {
    "a loop that is open": """
        loop = asyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
    """,
    "a loop that never ran": """
        loop = asyncio.new_event_loop()
        loop.call_soon(print, "never")
        loop.call_later(1, print, "never")
    """,
    "a loop in a cycle": """
        loop = asyncio.new_event_loop()
        loop.itself = loop
        loop.run_until_complete(asyncio.sleep(0))
        del loop
    """,
    "pending tasks": """
        async def wait():
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                print("closed")
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(wait()) for _ in range(100)]
        loop.run_until_complete(asyncio.sleep(0))
        logging.disable()
    """,
    "tasks that wait for each other and for timers": """
        async def wait(task):
            await asyncio.wait([task])
        async def main():
            task = asyncio.ensure_future(asyncio.sleep(3600))
            for _ in range(10):
                task = asyncio.ensure_future(wait(task))
            await asyncio.sleep(0)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        logging.disable()
    """,
    "connections": """
        async def main():
            global server, streams
            server = await asyncio.start_server(lambda *streams: streams, "127.0.0.1", 0)
            streams = await asyncio.open_connection(*server.sockets[0].getsockname())
            streams[1].write(b"x" * 10_000_000)
            await asyncio.sleep(0)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        logging.disable()
    """,
    "an exit out of a callback": """
        async def main():
            asyncio.ensure_future(asyncio.sleep(3600))
            asyncio.get_running_loop().call_soon(sys.exit, 5)
            await asyncio.sleep(3600)
        asyncio.run(main())
    """,
    "an exit out of a task": """
        async def main():
            raise SystemExit(5)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    """,
    "a thread of the executor that still works": """
        def work():
            started.set()
            go.wait()
            print("worked")
        async def main():
            asyncio.get_running_loop().run_in_executor(None, work)
            await asyncio.get_running_loop().run_in_executor(None, started.wait)
        started, go = threading.Event(), threading.Event()
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        threading._register_atexit(go.set)
        logging.disable()
    """,
    "a loop that asks for a thread of the executor too late": """
        def ask():
            gone.wait()
            try:
                loop.run_until_complete(loop.run_in_executor(None, print, "late"))
            except RuntimeError as error:
                print(error)
        gone = threading.Event()
        # Called in the reverse order: when the executors' threads are gone, which the module's import sees to.
        threading._register_atexit(gone.set)
        import concurrent.futures.thread
        loop = asyncio.new_event_loop()
        threading.Thread(target=ask).start()
        logging.disable()
    """,
    "a loop that waits in a daemon thread": """
        def serve():
            loop = asyncio.new_event_loop()
            loop.call_soon(started.set)
            loop.run_forever()
        started = threading.Event()
        threading.Thread(target=serve, daemon=True).start()
        started.wait()
    """,
    "a loop that works in a daemon thread": """
        async def main():
            started.set()
            while True:
                await asyncio.sleep(0)
        started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        started.wait()
    """,
    "a loop with timers in a daemon thread": """
        async def main():
            started.set()
            while True:
                await asyncio.sleep(0.0001)
        started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        started.wait()
    """,
    "a server with traffic in a daemon thread": """
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            while True:
                writer.write(b"x")
                await reader.read(100)
                started.set()
        started = threading.Event()
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        started.wait()
    """,
    "daemon threads that call a loop": """
        def call():
            while True:
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError:
                    pass  # Closed.
        loop = asyncio.new_event_loop()
        for _ in range(3):
            threading.Thread(target=call, daemon=True).start()
        loop.run_until_complete(asyncio.sleep(0.001))
    """,
    "daemon threads that call a loop that is closed": """
        def call():
            while True:
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError:
                    pass
        loop = asyncio.new_event_loop()
        for _ in range(3):
            threading.Thread(target=call, daemon=True).start()
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.close()
    """,
    "a thread that outlives the main one": """
        async def main():
            threading.main_thread().join()
            await asyncio.sleep(0.001)
            print("done")
        threading.Thread(target=lambda: asyncio.run(main())).start()
    """,
    "a loop that runs at the exit": """
        import atexit
        async def main():
            await asyncio.sleep(0)
            print("at exit")
        atexit.register(lambda: asyncio.run(main()))
        loop = asyncio.new_event_loop()
    """,
    "a loop that is used when modules are gone": """
        class Last:
            def __init__(self, loop):
                self.loop = loop
            def __del__(self):
                self.loop.call_soon(int)
                self.loop.run_until_complete(self.loop.create_task(self.last()))
            async def last(self):
                print("last")
        last = Last(asyncio.new_event_loop())
    """,
    "a child that lives": """
        async def main():
            global child
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "import sys; sys.stdin.read()", stdin=subprocess.PIPE)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        logging.disable()
        # Whether the child's transport finds its loop closed depends on which is dropped first.
        sys.unraisablehook = lambda args: None
    """,
    "an asynchronous generator": """
        async def numbers():
            try:
                yield 1
            finally:
                print("closed")
        async def main():
            global generator
            generator = numbers()
            await anext(generator)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
    """,
    "encryption": """
        async def main():
            global transport
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            context = ssl.create_default_context()
            connecting = asyncio.ensure_future(asyncio.get_running_loop().create_connection(
                asyncio.Protocol, sock=ours, ssl=context, server_hostname="x"))
            await asyncio.sleep(0.001)
            globals().update(locals())
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        logging.disable()
    """,
}

PRELUDE = (
    "import asyncio, logging, socket, ssl, subprocess, sys, threading, warnings\n"
    "warnings.simplefilter('ignore')\n"
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_as_on_asyncio_with(tmp_path: Path, name: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PRELUDE + textwrap.dedent(PROGRAMS[name]))
    status, output, errors = run([*PYTHON, str(program)])
    assert status in (0, 5)
    ours = run([*FERRIO, str(program)])
    assert (*ours[:2], told(ours[2])) == (status, output, told(errors))


def told(errors: str) -> list[str]:
    """The lines of what was written to stderr, without the frames of tracebacks."""
    return [plain(line) for line in errors.splitlines() if not line.startswith("  ")]
