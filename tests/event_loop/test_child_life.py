"""From `connection_made` to `connection_lost` of a child: every way it and its pipes can end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.transport.world import Event, World, compare, names

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
SH = "/bin/sh"

CALLBACKS = [
    "connection_made",
    "pipe_data_received",
    "pipe_connection_lost",
    "process_exited",
    "connection_lost",
]


class Recorder(asyncio.SubprocessProtocol):
    """Records each callback, then does what `on` has under its name; pieces of a pipe's data are one event."""

    transport: Any = None

    def __init__(self, world: World, on: dict[str, Callable[[Any], Any]] | None = None) -> None:
        self.world, self.on = world, on or {}

    def _record(self, name: str, *args: Any) -> None:
        self.world.record(name, *args)
        if name in self.on:
            self.on[name](self)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._record("connection_made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._record("pipe_data_received", fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._record("pipe_connection_lost", fd, exc)

    def process_exited(self) -> None:
        self._record("process_exited")

    def connection_lost(self, exc: Exception | None) -> None:
        self._record("connection_lost", exc)

    def pause_writing(self) -> None:
        self._record("pause_writing")

    def resume_writing(self) -> None:
        self._record("resume_writing")


class Child:
    """A shell that does what it is told, a line at a time, through a pipe of its own: the test decides what is when."""

    def __init__(self, world: World, on: dict[str, Any] | None = None) -> None:
        self.world, self.on = world, on
        self.transport: Any = None

    async def start(self, program: str = "", **kwargs: Any) -> Any:
        """Start it, and return its transport."""
        orders, self.orders = os.pipe()
        # A plain shell knows descriptors of one digit only.
        loop = 'while read -r line <&9; do eval "$line"; done'
        command = program or f"exec 9</dev/fd/{orders}; {loop}"
        try:
            self.transport, _ = await self.world.loop.subprocess_exec(
                lambda: Recorder(self.world, self.on),
                SH,
                "-c",
                command,
                pass_fds=[orders],
                **kwargs,
            )
        finally:
            os.close(orders)
        return self.transport

    def tell(self, line: str) -> None:
        """Have the shell execute the line."""
        with contextlib.suppress(BrokenPipeError):  # It may be gone.
            os.write(self.orders, line.encode() + b"\n")

    def tell_state(self, name: str = "state") -> None:
        """Record what the transport says of itself."""
        transport = self.transport
        pipes = [transport.get_pipe_transport(fd) is not None for fd in range(4)]
        self.world.record(name, transport.is_closing(), transport.get_returncode(), pipes)
        if self.world.saw("connection_lost"):
            self.world.record("repr", repr(transport))

    def attempt_signals(self, name: str) -> None:
        """Record what becomes of signals, which a child that is there ignores."""
        self.world.attempt(f"{name}: signal", lambda: self.transport.send_signal(0))
        self.world.attempt(f"{name}: no signal", lambda: self.transport.send_signal(1000))

    async def end(self) -> None:
        """Have it end, if it has not, and wait for that."""
        if not self.world.saw("connection_lost"):
            # close() would ask Popen itself for its state, which docs/differences.md tells of.
            self.transport.kill()
            await self.world.until_saw("connection_lost")
        self.transport.close()
        os.close(self.orders)


def sorted_by_source(events: list[Event]) -> list[Event]:
    """The events without their order between different descriptors and the child: that is the kernel's affair."""

    def source(event: Event) -> tuple[int, str]:
        if event[0] == "log":
            return 3, repr(event)
        if event[0].startswith("pipe_"):
            return 1, repr(event[1])
        return (2 if event[0] == "process_exited" else 0), ""

    pipes = re.compile(r" std(in|out|err)=<[^<>]*>")
    texts = [
        tuple(pipes.sub("", part) if isinstance(part, str) else part for part in event)
        for event in events
    ]
    return sorted(texts, key=source)


def popen_was_first(event: Event) -> bool:
    """Whether asyncio missed how the child ended, since `Popen.send_signal()` has asked: docs/differences.md has it."""
    return event[0] == "log" and "will report returncode 255" in event[2]


ALL = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}


def test_pipes_close_before_the_exit() -> None:
    async def scenario(world: World) -> None:
        child = Child(world)
        await child.start(**ALL)
        for count, fd in enumerate([1, 2, 0], 1):
            child.tell(f"exec {fd}>&-")
            await world.until_saw("pipe_connection_lost", count)
            child.tell_state()
        child.attempt_signals("running")
        child.tell("exit 3")
        await world.until_saw("connection_lost")
        child.tell_state()
        child.attempt_signals("over")
        await child.end()

    events = compare(scenario)
    assert "over: no signal" in names(events)
    assert names(events).count("pipe_connection_lost") == 3


def test_exit_before_the_pipes_close() -> None:
    """A grandchild keeps its output open, until it is told to end."""

    async def scenario(world: World) -> None:
        child = Child(world)
        await child.start(stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
        child.tell("(read -r line <&9; echo $line) & exit 4")
        await world.until_saw("process_exited")
        child.tell_state()
        child.attempt_signals("over")
        child.tell("last words")
        await world.until_saw("connection_lost")
        child.tell_state()
        await child.end()

    events = compare(scenario)
    assert names(events).index("process_exited") < names(events).index("pipe_data_received")


DESTINATIONS: dict[str, Any] = {
    "PIPE": PIPE,
    "DEVNULL": DEVNULL,
    "STDOUT": STDOUT,
    "fd": "fd",
    "nothing": None,
}


@pytest.mark.parametrize("stdin", ["PIPE", "DEVNULL", "fd", "nothing", "STDOUT"])
@pytest.mark.parametrize("stdout", ["PIPE", "DEVNULL", "fd", "STDOUT"])
@pytest.mark.parametrize("stderr", ["PIPE", "DEVNULL", "fd", "STDOUT"])
def test_each_destination(stdin: str, stdout: str, stderr: str) -> None:
    async def scenario(world: World) -> None:
        file = os.open(os.devnull, os.O_RDWR)
        chosen = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        options = {
            name: file if what == "fd" else DESTINATIONS[what] for name, what in chosen.items()
        }
        child = Child(world)
        try:
            await child.start("exit 5", **options)
        except Exception as error:
            world.record("refused", error)
            os.close(child.orders)
        else:
            await world.until_saw("connection_lost")
            child.tell_state()
            await child.end()
        os.close(file)

    events = compare(scenario, normal=sorted_by_source)
    assert names(events).count("connection_lost") == ("refused" not in names(events))


def _raise(error: BaseException) -> Any:
    raise error


def _kill(transport: Any) -> None:
    with contextlib.suppress(ProcessLookupError):  # It may have been missed already.
        transport.kill()


ACTIONS: dict[str, Callable[[Any], Any]] = {
    "raise ValueError": lambda self: _raise(ValueError("no")),
    "raise OSError": lambda self: _raise(OSError(5, "no")),
    "raise CancelledError": lambda self: _raise(asyncio.CancelledError("no")),
    "close": lambda self: self.transport.close(),
    "kill": lambda self: _kill(self.transport),
}


@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("debug", [False, True], ids=["quiet", "debug"])
def test_in_each_callback(callback: str, action: str, debug: bool) -> None:
    async def scenario(world: World) -> None:
        child = Child(world, {callback: ACTIONS[action]})
        transport = await child.start(stdin=PIPE, stdout=PIPE)
        await world.turns()
        if not transport.is_closing() and action != "kill":
            child.tell("echo hello")
            await world.until(lambda: world.saw("pipe_data_received") or transport.is_closing())
        for count, fd in enumerate([1, 0], 1):
            if not transport.is_closing() and transport.get_returncode() is None:
                child.tell(f"exec {fd}>&-")
                await world.until(
                    lambda count=count: (
                        world.saw("pipe_connection_lost", count) or transport.is_closing()
                    )
                )
        if not transport.is_closing():
            child.tell("exit 6")
        await world.until_saw("connection_lost")
        await world.turns()
        child.tell_state()
        await child.end()

    def of_a_watcher(event: Event) -> bool:
        # The child watcher of Python 3.11's asyncio, a thread's, has a log of its own.
        return event[0] == "log" and "exited with returncode" in event[2]

    compare(
        scenario,
        debug,
        only_asyncio=of_a_watcher,
        normal=sorted_by_source,
        lost_race=popen_was_first,
    )


@pytest.mark.parametrize("way", ["kill", "terminate", "send_signal", "close"])
def test_end_by_us(way: str) -> None:
    async def scenario(world: World) -> None:
        child = Child(world)
        transport = await child.start(stdin=PIPE)
        arguments = [signal.SIGHUP] if way == "send_signal" else []
        for _ in range(3):  # While it runs, ends, and once more.
            world.attempt(way, lambda: getattr(transport, way)(*arguments))
        world.record("closing", transport.is_closing())
        await world.until_saw("process_exited")
        world.attempt(way, lambda: getattr(transport, way)(*arguments))
        await world.until_saw("connection_lost")
        world.attempt(way, lambda: getattr(transport, way)(*arguments))
        world.attempt("wait", lambda: transport.get_returncode())
        await child.end()

    events = compare(scenario, normal=sorted_by_source, lost_race=popen_was_first)
    assert names(events).count("connection_lost") == 1


def test_writes_to_a_child_that_reads_no_more() -> None:
    async def scenario(world: World) -> None:
        child = Child(world)
        transport = await child.start(stdin=PIPE)
        stdin = transport.get_pipe_transport(0)
        child.tell("exec 0<&-")
        await world.until_saw("pipe_connection_lost")
        for _ in range(7):
            stdin.write(b"late")
        stdin.write_eof()
        stdin.close()
        child.tell("exit 0")
        await world.until_saw("connection_lost")
        stdin.write(b"later")
        await child.end()

    assert "log" in names(compare(scenario, normal=sorted_by_source))


def test_a_child_that_never_reads() -> None:
    async def scenario(world: World) -> None:
        child = Child(world)
        transport = await child.start(stdin=PIPE)
        stdin = transport.get_pipe_transport(0)
        while not stdin.get_write_buffer_size() > 1 << 17:
            stdin.write(b"x" * 65536)
        world.record("paused", world.saw("pause_writing"))
        child.tell("cat >/dev/null")
        await world.until_saw("resume_writing")
        stdin.write_eof()
        await world.until_saw("pipe_connection_lost")
        await child.end()

    assert ("paused", True) in compare(scenario, normal=sorted_by_source)


watched_by_nobody_else = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="the thread of asyncio's child watcher holds the transport"
)


@watched_by_nobody_else
@pytest.mark.parametrize("closed", [False, True])
def test_dropped_without_a_word(closed: bool) -> None:
    async def scenario(world: World) -> None:
        child = Child(world)
        await child.start()
        if closed:
            child.tell("exit 0")
            await world.until_saw("connection_lost")
        child.transport = None
        await world.turns()
        gc.collect()
        os.close(child.orders)  # Which ends it.
        await world.until_saw("connection_lost")

    compare(scenario, normal=sorted_by_source)


@watched_by_nobody_else
# The transport's __del__ closes its pipes, whose loop is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_loop_ends_before_the_child() -> None:
    left: list[Any] = []

    async def scenario(world: World) -> None:
        child = Child(world)
        transport = await child.start(stdin=PIPE)
        left.append((child.orders, transport.get_extra_info("subprocess")))

    events = compare(scenario, normal=sorted_by_source)
    for orders, process in left:
        os.close(orders)
        process.wait()
    assert any("unclosed transport <_UnixSubprocessTransport" in str(event) for event in events)


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
def test_factory_raises(error: type[BaseException]) -> None:
    async def scenario(world: World) -> None:
        try:
            await world.loop.subprocess_exec(lambda: _raise(error("no")), SH, "-c", "exit 0")
        except BaseException as caught:
            world.record("caught", caught)

    assert compare(scenario)[0][0] == "caught"


@pytest.mark.parametrize(
    ("method", "command", "options"),
    [
        ("subprocess_exec", ["/no/such/program"], {}),
        ("subprocess_exec", ["/"], {}),
        ("subprocess_exec", [], {}),
        ("subprocess_exec", [None], {}),
        ("subprocess_exec", [5], {}),
        ("subprocess_exec", [SH, 5], {}),
        ("subprocess_exec", [SH], {"cwd": "/no/such/folder"}),
        ("subprocess_exec", [SH], {"shell": True}),
        ("subprocess_exec", [SH], {"bufsize": 1}),
        ("subprocess_exec", [SH], {"text": True}),
        ("subprocess_exec", [SH], {"encoding": "utf-8"}),
        ("subprocess_exec", [SH], {"errors": "ignore"}),
        ("subprocess_exec", [SH], {"universal_newlines": True}),
        ("subprocess_exec", [SH], {"stdin": "x"}),
        ("subprocess_exec", [SH], {"stdout": -77}),
        ("subprocess_exec", [SH], {"no_such": 1}),
        ("subprocess_shell", [5], {}),
        ("subprocess_shell", [None], {}),
        ("subprocess_shell", [["ls"]], {}),
        ("subprocess_shell", ["exit 0"], {"shell": False}),
        ("subprocess_shell", ["exit 0"], {"bufsize": 1}),
        ("subprocess_shell", ["exit 0"], {"text": True}),
    ],
)
@pytest.mark.parametrize("debug", [False, True], ids=["quiet", "debug"])
def test_bad_arguments(method: str, command: Any, options: Any, debug: bool) -> None:
    async def scenario(world: World) -> None:
        try:
            await getattr(world.loop, method)(lambda: Recorder(world), *command, **options)
        except Exception as error:
            world.record("refused", error)

    assert "refused" in names(compare(scenario, debug))
