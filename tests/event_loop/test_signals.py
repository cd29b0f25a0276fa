"""`add_signal_handler` and `remove_signal_handler`, with real signals to this process."""

import asyncio
import contextvars
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

Loop = asyncio.AbstractEventLoop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    """Every test begins and ends with Python's own handlers and no wake-up descriptor."""
    yield
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def send(number: int = signal.SIGUSR1) -> None:
    os.kill(os.getpid(), number)


def test_a_signal_wakes_the_loop_and_calls_the_handler(loop: Loop) -> None:
    got: list[tuple[int, ...]] = []

    def handler(*args: int) -> None:
        got.append(args)
        assert asyncio.get_running_loop() is loop
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, 2)
    # From a thread, so that the loop waits, or is about to, when it comes.
    thread = threading.Thread(target=send)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert got == [(1, 2)]


def test_a_signal_that_came_before_the_run_is_handled_in_it(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    send()
    loop.run_forever()


def test_a_new_handler_replaces_the_old_one(loop: Loop) -> None:
    got: list[str] = []

    def new() -> None:
        got.append("new")
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, got.append, "old")
    loop.add_signal_handler(signal.SIGUSR1, new)
    send()
    loop.run_forever()
    assert got == ["new"]


def test_signals_are_told_apart(loop: Loop) -> None:
    got: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT):
        loop.add_signal_handler(number, got.append, number)
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    for number in (signal.SIGUSR2, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        send(number)
    loop.run_forever()
    assert sorted(got) == sorted([signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT])


def test_a_signal_that_came_before_the_handler_is_not_for_it(loop: Loop) -> None:
    got: list[str] = []

    async def main() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: got.append("before"))
        send()
        send()
        loop.add_signal_handler(signal.SIGUSR1, got.append, "after")
        await asyncio.sleep(0.01)
        send()
        while len(got) < 3:
            await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGUSR1)

    loop.run_until_complete(main())
    assert got == ["before", "before", "after"]


def test_one_interrupt_is_not_two(make_loop: Callable[[], Loop]) -> None:
    """Who asks for patience after the first Ctrl-C, and gives up after the second."""
    got: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(send, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            loop.add_signal_handler(signal.SIGINT, got.append, "second")
            for _ in range(10):
                await asyncio.sleep(0)
            loop.remove_signal_handler(signal.SIGINT)
            raise

    with asyncio.Runner(loop_factory=make_loop) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())
    assert got == []


@pytest.mark.parametrize("when", ["before the run", "in the run"])
@pytest.mark.parametrize("pending", [False, True], ids=["none came", "one came"])
def test_a_wakeup_descriptor_that_was_closed_stops_nothing(
    loop: Loop, when: str, pending: bool
) -> None:
    def set_and_close() -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        os.close(reader)
        os.close(writer)

    async def main() -> int:
        if pending:
            send()
        if when == "in the run":
            set_and_close()
        return 5

    signal.signal(signal.SIGUSR1, lambda *_: None)
    if when == "before the run":
        set_and_close()
    try:
        assert loop.run_until_complete(main()) == 5
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None


def test_a_wakeup_descriptor_that_nobody_reads_stops_nothing(loop: Loop) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    async def main() -> int:
        send()
        signal.set_wakeup_fd(writer)
        os.close(reader)
        return 5

    signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        assert loop.run_until_complete(main()) == 5
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        assert signal.set_wakeup_fd(-1) == writer
        os.close(writer)
    assert not loop.is_running()


def test_a_wakeup_descriptor_that_is_full_is_not_warned_of(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its program wanted it."""
    warned: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", warned.append)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    async def main() -> None:
        send()

    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        os.write(writer, bytes(65536))
        loop.run_until_complete(main())
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        assert signal.set_wakeup_fd(-1) == writer
        os.close(reader)
        os.close(writer)
    assert warned == []


def test_the_handler_runs_in_the_context_of_its_adding(loop: Loop) -> None:
    got: list[str] = []

    def handler() -> None:
        got.append(variable.get())
        loop.stop()

    token = variable.set("at the adding")
    loop.add_signal_handler(signal.SIGUSR1, handler)
    variable.reset(token)
    send()
    loop.run_forever()
    assert got == ["at the adding"]


def test_a_handler_that_raises_is_reported_and_stays(loop: Loop) -> None:
    reports: list[str] = []

    def report(loop: Loop, context: dict[str, object]) -> None:
        reports.append(type(context["exception"]).__name__)
        loop.stop()

    loop.set_exception_handler(report)
    loop.add_signal_handler(signal.SIGUSR1, int, "x")
    for _ in range(2):
        send()
        loop.run_forever()
    assert reports == ["ValueError"] * 2


def test_removal_gives_the_default_back(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert loop.remove_signal_handler(signal.SIGINT) is False
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def test_a_handler_may_remove_itself(loop: Loop) -> None:
    def handler() -> None:
        assert loop.remove_signal_handler(signal.SIGUSR1)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    send()
    loop.run_forever()


def test_close_gives_the_defaults_back(make_loop: Callable[[], Loop]) -> None:
    loop = make_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()


def test_close_in_another_thread_closes_and_says_what_it_could_not(
    make_loop: Callable[[], Loop],
) -> None:
    loop = make_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    said: list[BaseException] = []

    def other() -> None:
        try:
            loop.close()
        except ValueError as error:
            said.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert loop.is_closed()
    assert len(said) == 1
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)


def test_no_descriptor_is_left_open(make_loop: Callable[[], Loop]) -> None:
    def open_descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    before = open_descriptors()
    for _ in range(3):
        loop = make_loop()
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.close()
    assert open_descriptors() == before
