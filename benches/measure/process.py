"""Processes that are bound to one processor: those that run to their end, and those that are asked."""

import json
import os
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benches.measure.outcome import Failed, NotYet

STARTING = 30.0
"""Seconds that a process may take to be ready."""
STOPPING = 5.0
"""Seconds that a process may take to stop."""
ROOT = Path(__file__).parents[2]


@contextmanager
def bound_to(core: int | None) -> Iterator[None]:
    """What is started meanwhile runs on the processor `core` (None: on any) from its first
    instruction on."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run(command: Sequence[str | Path], core: int | None, timeout: float) -> dict[str, Any]:
    """Runs a program to its end and returns the JSON of its last line.

    Raises NotYet if that says so, and Failed if the program fails, takes longer than `timeout`
    seconds, or prints nothing.
    """
    try:
        with bound_to(core):
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        with process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(command[0]).name} took longer than {timeout:.0f} s") from None
    if process.returncode or not output.strip():
        raise Failed(_last_line(errors) or f"exit status {process.returncode}")
    return _facts(output.splitlines()[-1])


class Child:
    """A process that tells facts in lines of JSON, from its start until the block ends."""

    def __init__(self, command: Sequence[str | Path], core: int | None) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        with bound_to(core):
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        self.first: dict[str, Any] = {}
        """What it told when it was ready."""

    def __enter__(self) -> Self:
        """Waits until the process is ready. Raises NotYet or Failed if it doesn't get there."""
        try:
            self.first = self._next_facts(STARTING)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, patience: float) -> dict[str, Any]:
        """What the process tells when it is sent a line, within `patience` seconds. Raises NotYet or
        Failed."""
        try:
            self._input.write(b"\n")
        except BrokenPipeError:
            raise self._ended() from None
        return self._next_facts(patience)

    def cpu_seconds(self) -> float:
        """User and system time of the process until now, all its threads together."""
        # The number of a process's CPU clock (CPUCLOCK_SCHED): Linux's ABI, clock_getcpuclockid(3).
        return time.clock_gettime(~self.pid << 3 | 2)

    def _next_facts(self, patience: float) -> dict[str, Any]:
        """The process's next line."""
        pipe, line = self._output, b""
        end = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise Failed(f"the process said nothing for {patience:.0f} s")
                data = os.read(pipe.fileno(), 1)
                if not data:
                    raise self._ended()
                line += data
        return _facts(line.decode())

    def _ended(self) -> Failed:
        """Why there is no more from a process that has closed its output."""
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            return Failed("the process closed its output and did not end")
        self._errors.seek(0)
        return Failed(_last_line(self._errors.read()) or "the process ended without a word")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for file in (self._input, self._output, self._errors):
            file.close()


class Server(Child):
    """A server."""

    @property
    def port(self) -> int | None:
        """The port it listens on; None on a Unix socket."""
        port: int | None = self.first["port"]
        return port

    @property
    def uses(self) -> dict[str, str]:
        """Where the server's names of asyncio came from."""
        uses: dict[str, str] = self.first.get("uses", {})
        return uses

    def explain(self, failure: str) -> Exception:
        """Why the load saw `failure`: what the server said since it listened, if it has ended."""
        try:
            self._process.wait(STOPPING)
            said: object = self._next_facts(STOPPING)
        except subprocess.TimeoutExpired:
            return Failed(failure)
        except NotYet as error:
            return error
        except Failed as error:
            said = error
        return Failed(f"{failure}; the server: {said}")


def _facts(line: str) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(line)
    except ValueError:
        raise Failed(f"not JSON: {line}") from None
    if "not_implemented" in facts:
        raise NotYet(facts["not_implemented"])
    return facts


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
