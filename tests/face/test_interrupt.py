"""Ctrl-C: a SIGINT to a process does on ferrio's loop what it does on asyncio's."""

import re
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from ..children import FERRIO, PYTHON, run

# Each program calls ready() shortly before the signal shall reach it.
PROGRAMS = {
    "waiting for a future in asyncio.run": """
        async def main():
            asyncio.get_running_loop().call_soon(ready)
            await asyncio.get_running_loop().create_future()
        asyncio.run(main())
    """,
    "waiting for a timer in asyncio.run": """
        async def main():
            asyncio.get_running_loop().call_soon(ready)
            await asyncio.sleep(3600)
        asyncio.run(main())
    """,
    "cleaning up": """
        async def main():
            try:
                asyncio.get_running_loop().call_soon(ready)
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)
                print("cleaned up", flush=True)
        asyncio.run(main())
    """,
    "suppressing the cancellation": """
        async def main():
            try:
                asyncio.get_running_loop().call_soon(ready)
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                print("go on", flush=True)
            return 5
        print(asyncio.run(main()))
    """,
    "busy in the task": """
        async def main():
            ready(waiting=False)
            while True: pass
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()
    """,
    "busy in a callback": """
        def spin():
            ready(waiting=False)
            while True: pass
        loop = asyncio.new_event_loop()
        loop.call_soon(spin)
        try:
            loop.run_forever()
        finally:
            loop.close()
    """,
    "waiting in run_forever": """
        loop = asyncio.new_event_loop()
        loop.call_soon(ready)
        try:
            loop.run_forever()
        finally:
            loop.close()
    """,
    "waiting in a loop that is run again": """
        loop = asyncio.new_event_loop()
        loop.call_soon(ready)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted", loop.is_running(), asyncio._get_running_loop())
        print(loop.run_until_complete(asyncio.sleep(0, "run again")))
        loop.close()
    """,
    "serving": """
        async def main():
            server = await asyncio.start_server(print, "127.0.0.1", 0)
            asyncio.get_running_loop().call_soon(ready)
            async with server:
                await server.serve_forever()
        asyncio.run(main())
    """,
    "waiting for a thread": """
        import threading
        async def main():
            go = threading.Event()
            try:
                asyncio.get_running_loop().call_soon(ready)
                await asyncio.to_thread(go.wait)
            finally:
                go.set()
        asyncio.run(main())
    """,
    "with a handler of the loop": """
        async def main():
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            loop.add_signal_handler(signal.SIGINT, done.set_result, "handled")
            loop.call_soon(ready)
            print(await done)
            print(loop.remove_signal_handler(signal.SIGINT))
            print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        asyncio.run(main())
    """,
    "with a handler of the program": """
        async def main():
            loop = asyncio.get_running_loop()
            done = loop.create_future()
            signal.signal(signal.SIGINT,
                lambda *args: loop.call_soon_threadsafe(done.set_result, "handled"))
            loop.call_soon(ready)
            print(await done)
        asyncio.run(main())
    """,
    "twice": """
        async def main():
            loop = asyncio.get_running_loop()
            try:
                loop.call_soon(ready)
                await loop.create_future()
            except asyncio.CancelledError:
                ready(waiting=False)
                while True: pass
        asyncio.run(main())
    """,
}

PRELUDE = """\
import asyncio, os, signal, sys, threading, time

def ready(waiting=True):
    print("ready", flush=True)
    threading.Thread(target=interrupt, args=(waiting,), daemon=True).start()

def interrupt(waiting):
    # Once ready() has returned, and the main thread waits for what never comes, if it shall.
    main = threading.main_thread()
    while is_inside(ready, sys._current_frames()[main.ident]) or (waiting and not sleeps(main)):
        time.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)

def is_inside(function, frame):
    return frame is not None and (
        frame.f_code is function.__code__ or is_inside(function, frame.f_back)
    )

def sleeps(thread):
    try:
        with open(f"/proc/self/task/{thread.native_id}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "S"
    except FileNotFoundError:
        return True  # There is no such file but on Linux.

"""


def interrupt(command: list[str], program: Path) -> tuple[int, str, list[str]]:
    """Run a program that interrupts itself; return its exit code, its output, and of its errors the exceptions and
    the program's own frames."""
    status, output, errors = run([*command, program.name], program.parent)
    return status, output, told(errors)


def told(errors: str) -> list[str]:
    lines = []
    for line in errors.splitlines():
        frame = re.match(r'  File ".*program.py", line (\d+), in (\w+|<module>)$', line)
        if frame:
            lines.append(f"line {frame[1]} in {frame[2]}")
        elif line and not line.startswith(" "):
            lines.append(line)
    return lines


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_interrupted_program_ends_as_on_asyncio(tmp_path: Path, name: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(PRELUDE + textwrap.dedent(PROGRAMS[name]))
    expected = interrupt(PYTHON, program)
    assert expected[1].startswith("ready\n")
    assert interrupt(FERRIO, program) == expected


def test_what_is_not_handled_ends_the_process_by_the_signal(tmp_path: Path) -> None:
    # Else both could go wrong together above.
    program = tmp_path / "program.py"
    program.write_text(PRELUDE + textwrap.dedent(PROGRAMS["waiting for a future in asyncio.run"]))
    status, output, errors = interrupt(FERRIO, program)
    assert (status, output) == (-signal.SIGINT, "ready\n")
    assert errors[0] == "Traceback (most recent call last):"
    assert errors[-1] == "KeyboardInterrupt"


def test_ferrio_run_is_interrupted_too(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        PRELUDE
        + "import ferrio\n"
        + "async def main():\n"
        + "    asyncio.get_running_loop().call_soon(ready)\n"
        + "    await asyncio.get_running_loop().create_future()\n"
        + "ferrio.run(main())\n"
    )
    assert interrupt([sys.executable], program)[0] == -signal.SIGINT
