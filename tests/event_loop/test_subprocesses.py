"""Subprocesses: real ones, side by side with asyncio's loop where it does the same."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import ferrio
import pytest

from tests.interpreter import BEFORE_REPAIRS, LONG_RUNS

from .side_by_side import both, outcome, within

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
SH = "/bin/sh"


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """Run the scenario on ferrio's loop."""
    return ferrio.run(within(scenario()))


async def sh(command: str, **kwargs: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(SH, "-c", command, **kwargs)


def children() -> set[int]:
    """The children of this process that were not waited for."""
    with open(f"/proc/self/task/{threading.get_native_id()}/children") as file:
        return set(map(int, file.read().split()))


def no_child(pid: int) -> bool:
    """Whether the process is gone and was waited for."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -TERM $$", -15), ("exit 300", 44)],
)
def test_exit_status(command: str, status: int) -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> tuple[Any, ...]:
        process = await sh(command)
        waited = await process.wait()
        shell = await asyncio.create_subprocess_shell(command)
        assert no_child(process.pid)
        return waited, process.returncode, await shell.wait()

    assert both(scenario)[0] == status


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_communicate(size: int) -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> tuple[Any, ...]:
        process = await sh("cat; echo error >&2", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate(b"x" * size)
        return len(out), err, process.returncode

    assert both(scenario) == (size, b"error\n", 0)


def show(code: str) -> tuple[str, ...]:
    return sys.executable, "-S", "-c", f"import os, signal, sys; {code}"


@pytest.mark.parametrize(
    ("command", "kwargs"),
    [
        (show("print(os.getcwd())"), {"cwd": "/"}),
        (show("print(sorted(k for k in os.environ if k == 'A'))"), {"env": {"A": "1"}}),
        (show("print(os.getsid(0) == os.getpid())"), {"start_new_session": True}),
        (show("print(os.getpgid(0) == os.getpid())"), {"process_group": 0}),
        (show("print(os.umask(0))"), {"umask": 0o27}),
        (show("print(os.umask(0))"), {"preexec_fn": lambda: os.umask(0o31)}),
        (show("print('no'); print('yes', file=sys.stderr)"), {"stderr": STDOUT}),
        (show("print(sys.argv[0])"), {"executable": sys.executable}),
        (show("print(len(os.listdir('/proc/self/fd')) < 6)"), {"close_fds": True}),
        (show("print(signal.getsignal(signal.SIGPIPE))"), {"restore_signals": False}),
        (show("print(sys.stdin.read())"), {"stdin": DEVNULL}),
        (show("print(os.getuid())"), {"user": os.getuid()}),
        (show("print(os.getgid())"), {"group": os.getgid(), "extra_groups": []}),
        (show("print(1)"), {"pipesize": 4096}),
        (show("print(1)"), {"text": True}),
        (show("print(1)"), {"universal_newlines": True}),
        (show("print(1)"), {"bufsize": 10}),
        (show("print(1)"), {"nonsense": True}),
        (show("print(1)"), {"cwd": "/no/such/folder"}),
        (("/no/such/program",), {}),
        (("/",), {}),
        (("nul\0",), {}),
        (show("print(1)"), {"preexec_fn": lambda: 1 / 0}),
        (show("print(1)"), {"user": "no such user"}),
    ],
)
def test_arguments_of_popen(command: tuple[str, ...], kwargs: dict[str, Any]) -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> str:
        async def start() -> Any:
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, **kwargs)
            return await process.communicate(), process.returncode

        if os.getuid() and {"user", "group"} & set(kwargs):
            pytest.skip("only root may")
        return await outcome(start())

    before = len(os.listdir("/dev/fd"))
    both(scenario)
    gc.collect()
    # The Popen of a release without repairs leaves the pipes of a call that it refuses open.
    assert len(os.listdir("/dev/fd")) == before or (BEFORE_REPAIRS and "user" in kwargs)


def test_descriptors_are_passed() -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> bytes:
        reader, writer = os.pipe()
        command = show(f"os.write({writer}, b'passed')")
        process = await asyncio.create_subprocess_exec(*command, pass_fds=[writer])
        os.close(writer)
        await process.wait()
        with os.fdopen(reader, "rb") as file:
            return file.read()

    assert both(scenario) == b"passed"


class Recorder(asyncio.SubprocessProtocol):
    """Records what it is told, the pieces of one pipe's data as one."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.data = {1: b"", 2: b""}
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append(("connection_made",))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.data[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("pipe_connection_lost", fd, exc))

    def process_exited(self) -> None:
        self.events.append(("process_exited",))

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("connection_lost", exc))
        self.lost.set_result(None)


@pytest.mark.parametrize("shell", [False, True])
def test_life_of_a_protocol(shell: bool) -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> tuple[Any, ...]:
        command = "cat; echo error >&2"
        if shell:
            transport, protocol = await loop.subprocess_shell(Recorder, command)
        else:
            transport, protocol = await loop.subprocess_exec(Recorder, SH, "-c", command)
        stdin: Any = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        stdin.write(b"through")
        stdin.write_eof()
        await protocol.lost
        first, last = protocol.events[0], protocol.events[-1]
        return first, sorted(map(str, protocol.events[1:-1])), last, protocol.data

    assert both(scenario)[3] == {1: b"through", 2: b"error\n"}


def test_signals() -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> list[Any]:
        statuses = []
        for name in ["kill", "terminate"]:
            process = await asyncio.create_subprocess_exec("sleep", "100")
            getattr(process, name)()
            statuses.append(await process.wait())
            statuses.append(await outcome(asyncio.to_thread(getattr(process, name))))
        process = await asyncio.create_subprocess_exec("sleep", "100")
        process.send_signal(signal.SIGHUP)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.Event().wait()), 0.001)
        statuses.append(await process.wait())
        return statuses

    assert both(scenario)[0] == -signal.SIGKILL


def test_wait_with_a_time_limit() -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> tuple[str, int]:
        process = await asyncio.create_subprocess_exec("sleep", "100", stdout=PIPE)
        late = await outcome(asyncio.wait_for(process.communicate(), 0.001))
        process.kill()
        return late, await process.wait()

    assert both(scenario)[1] == -signal.SIGKILL


@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_cancelled_while_it_starts(turns: int) -> None:
    async def scenario() -> None:
        before = children()
        task = asyncio.ensure_future(
            asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if task.cancelled():
            assert children() == before
        else:
            process = task.result()
            process.kill()
            await process.wait()

    run(scenario)


def has_ended(pid: int) -> None:
    """Wait until the child is a zombie."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture(params=["pidfd", "no pidfd", "no descriptor left"])
def watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the end of a child is seen."""

    def refuse(pid: int, flags: int = 0) -> int:
        number = errno.ENOSYS if request.param == "no pidfd" else errno.EMFILE
        raise OSError(number, os.strerror(number))

    if request.param != "pidfd":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    return str(request.param)


def test_every_way_of_watching(watching: str) -> None:
    async def scenario() -> list[int]:
        processes = [await sh(f"exit {number}") for number in range(20)]
        threads = {thread.name for thread in threading.enumerate()}
        assert all(name.startswith("ferrio-waitpid-") for name in threads - known)
        return [await process.wait() for process in processes]

    known = {thread.name for thread in threading.enumerate()}
    assert run(scenario) == list(range(20))


def test_ended_before_it_is_watched(watching: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(self: Any, transport: Any) -> None:
        has_ended(transport.get_pid())
        watch_child(self, transport)

    watch_child = ferrio.Loop._watch_child
    monkeypatch.setattr(ferrio.Loop, "_watch_child", watch)

    async def scenario() -> int:
        return await (await sh("exit 5")).wait()

    assert run(scenario) == 5


def test_many_loops_in_threads(watching: str) -> None:
    results = []

    async def scenario() -> list[int]:
        processes = await asyncio.gather(*(sh(f"cat; exit {n}", stdin=PIPE) for n in range(5)))
        for process in processes:
            await process.communicate(b"data")
        return [await process.wait() for process in processes]

    threads = [threading.Thread(target=lambda: results.append(run(scenario))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(5))] * 4


def test_no_signal_meets_a_number_that_is_free(
    watching: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the wait on that reaps a child, its number may be another process's."""
    waitpid, kill = os.waitpid, os.kill
    free: list[int] = []
    stray: list[int] = []

    def note_free(pid: int, options: int) -> tuple[int, int]:
        ended = waitpid(pid, options)
        free.append(ended[0])
        return ended

    def note_stray(pid: int, number: int) -> None:
        if pid in free:
            stray.append(pid)
        else:
            kill(pid, number)

    monkeypatch.setattr(os, "waitpid", note_free)
    monkeypatch.setattr(os, "kill", note_stray)

    async def scenario() -> int:
        process = await sh("read line", stdin=PIPE)
        while process.returncode is None:
            process.kill()
            await asyncio.sleep(0)
        return await process.wait()

    assert run(scenario) == -signal.SIGKILL
    assert not stray


def test_somebody_else_waited_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def watch(self: Any, transport: Any) -> None:
        watch_child(self, transport)
        os.waitpid(transport.get_pid(), 0)

    watch_child = ferrio.Loop._watch_child
    monkeypatch.setattr(ferrio.Loop, "_watch_child", watch)

    async def scenario() -> tuple[int, int]:
        process = await sh("exit 5")
        return process.pid, await process.wait()

    with caplog.at_level(logging.WARNING, "asyncio"):
        pid, status = run(scenario)
    assert status == 255
    # The text of asyncio's.
    text = f"child process pid {pid} exit status already read:  will report returncode 255"
    assert text in caplog.messages


def test_popen_itself_waited_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio reports 255 then, with a warning; Popen knows better."""

    async def scenario() -> int:
        process = await sh("read line; exit 5", stdin=PIPE)
        assert process.stdin is not None
        process.stdin.write(b"end\n")
        # The loop has no turn until Popen was asked.
        has_ended(process.pid)
        assert process._transport.get_extra_info("subprocess").poll() == 5  # type: ignore[attr-defined]
        return await process.wait()

    assert run(scenario) == 5
    assert not caplog.messages


def test_closed_loop_leaves_the_child_alone(watching: str) -> None:
    loop = ferrio.new_event_loop()
    before = len(os.listdir("/dev/fd"))
    transport, _ = loop.run_until_complete(
        loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "100", stdin=None, stdout=None, stderr=None
        )
    )
    loop.close()
    # The poller's descriptors are closed, too.
    assert len(os.listdir("/dev/fd")) < before
    process = transport.get_extra_info("subprocess")
    assert process.poll() is None
    process.kill()
    # A thread that waits for it may have been faster.
    with contextlib.suppress(ChildProcessError):
        has_ended(process.pid)
    transport.close()


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="There are no child watchers any more.")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_watcher_of_ones_own_is_asked() -> None:
    class Watcher(asyncio.ThreadedChildWatcher):  # type: ignore[name-defined,misc]
        def add_child_handler(self, pid: int, callback: Any, *args: Any) -> None:
            asked.append(pid)
            super().add_child_handler(pid, callback, *args)

    async def scenario() -> tuple[int, int]:
        process = await sh("exit 5")
        return process.pid, await process.wait()

    asked: list[int] = []
    asyncio.set_child_watcher(Watcher())  # type: ignore[attr-defined]
    try:
        pid, status = run(scenario)
    finally:
        asyncio.set_child_watcher(None)  # type: ignore[attr-defined]
    assert (asked, status) == ([pid], 5)


@pytest.mark.timeout(600)
def test_nothing_is_left_of_thousands() -> None:
    async def one(number: int) -> None:
        process = await asyncio.create_subprocess_exec("/bin/true", stdin=PIPE, stdout=PIPE)
        await process.communicate()
        assert process.returncode == 0

    async def rounds(count: int) -> None:
        for start in range(0, count, 20):
            await asyncio.gather(*map(one, range(start, start + 20)))

    with asyncio.Runner(loop_factory=ferrio.new_event_loop) as runner:
        runner.run(rounds(100))
        gc.collect()
        before = len(os.listdir("/dev/fd")), children()
        blocks = sys.getallocatedblocks()
        runner.run(rounds(10_000 if LONG_RUNS else 2_000))
        gc.collect()
        assert (len(os.listdir("/dev/fd")), children()) == before
        assert sys.getallocatedblocks() - blocks < 500


def test_a_child_that_nobody_can_watch_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: Any) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        before = children()
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await sh("sleep 1000")
        assert children() == before

    monkeypatch.setattr(os, "pidfd_open", no_descriptor)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    run(scenario)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio's thread tells when it can")
def test_the_order_of_ends_that_come_together() -> None:
    async def scenario(loop: asyncio.AbstractEventLoop) -> list[Any]:
        saw: list[Any] = []
        lost = loop.create_future()

        class Protocol(asyncio.SubprocessProtocol):
            def pipe_data_received(self, fd: int, data: bytes) -> None:
                saw.append((fd, data))

            def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
                saw.append((fd, "lost"))

            def process_exited(self) -> None:
                saw.append("exited")

            def connection_lost(self, exc: Exception | None) -> None:
                lost.set_result(None)

        transport, _ = await loop.subprocess_exec(Protocol, SH, "-c", "read line; echo end")
        transport.get_pipe_transport(0).write(b"\n")  # type: ignore[union-attr]
        # Until it is dead the loop looks at nothing.
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)
        await lost
        return saw

    assert (1, b"end\n") in both(scenario)
