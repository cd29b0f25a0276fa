"""Runs the examples as their users do: a process, its output, its signals, its exit code."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Self

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# How a script is run, by the name of what runs it.
PYTHON = {"asyncio": [sys.executable], "ferrio": [sys.executable, "-m", "ferrio"]}
LOOP = {"asyncio": "asyncio", "ferrio": "ferrio:new_event_loop"}

# Only ever reached by a program that hangs, in seconds.
PATIENCE = 60

# What asyncio and the interpreter say about mistakes that do not end a program.
COMPLAINTS = re.compile(
    r"Traceback|never retrieved|never awaited|was destroyed but|Exception ignored|Fatal|ERROR"
)

# A test run in the background ignores SIGINT, and so would the programs that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def read_until(file: IO[bytes], line: bytes) -> None:
    """Read lines up to this one; the connection must not end before it comes."""
    while (read := file.readline()) != line:
        assert read, f"the connection ended before {line!r}"


class Output:
    """What a program has written to one of its pipes."""

    def __init__(self, pipe: IO[str]) -> None:
        self.lines: list[str] = []
        self.ended = False
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self.read, args=(pipe,), daemon=True)
        self.reader.start()

    def read(self, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                with self.changed:
                    self.lines.append(line.rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Return the match of `pattern` in the first line that has one."""
        seen = 0
        deadline = time.monotonic() + PATIENCE
        with self.changed:
            while True:
                for line in self.lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self.lines)
                assert not self.ended, f"no {pattern!r} in:\n{self.text}"
                assert self.changed.wait(deadline - time.monotonic()), (
                    f"still no {pattern!r} in:\n{self.text}"
                )

    def wait_for_lines(self, count: int) -> None:
        """Wait until there are `count` lines."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or len(self.lines) >= count, PATIENCE)
            assert len(self.lines) >= count, self.text

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Program:
    """A running program; it is killed when the `with` block ends before the program does."""

    def __init__(self, *command: object) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stderr
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        if any(exc_info):
            # pytest shows it below the failure.
            print(self.process.args, self.out.text, self.err.text, sep="\n")

    def send_signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def wait(self) -> int:
        """Return the exit code once all of the output has been read."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end:\n{self.out.text}\n{self.err.text}") from None
        for output in (self.out, self.err):
            output.reader.join(PATIENCE)
        return code

    def finish(self, expected_code: int = 0) -> None:
        """Wait for the end: the exit code is as expected and nobody has complained."""
        code = self.wait()
        text = f"{self.out.text}\n{self.err.text}"
        assert code == expected_code, text
        assert not COMPLAINTS.search(text), text


class Service(Program):
    """A program that serves HTTP under uvicorn, once it accepts connections."""

    def __init__(self, *command: object) -> None:
        super().__init__(*command)
        try:
            self.url = self.err.wait_for(r"running on (http://[\d.]+:\d+)")[1]
        except AssertionError:
            self.__exit__(*sys.exc_info())
            raise
        host, port = self.url.removeprefix("http://").split(":")
        self.address = host, int(port)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE)


def serve_script(mode: str) -> Service:
    """Serve `web_service.py` by running it."""
    return Service(*PYTHON[mode], EXAMPLES / "web_service.py", "--port", 0)


def serve_uvicorn(mode: str, app: str = "examples.web_service:app") -> Service:
    """Serve an ASGI application with uvicorn's command."""
    return Service(sys.executable, "-m", "uvicorn", "--loop", LOOP[mode], "--port", 0, app)
