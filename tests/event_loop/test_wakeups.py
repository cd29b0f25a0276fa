"""Signals wake a loop that waits, whoever handles them and whichever thread they come to."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator

import ferrio
import pytest


@pytest.fixture
def loop() -> Iterator[ferrio.Loop]:
    loop = ferrio.new_event_loop()
    yield loop
    loop.close()
    assert signal.set_wakeup_fd(-1) == -1


def wakeup_descriptor() -> int:
    """The descriptor that is set, which stays."""
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor)
    return descriptor


async def interrupted(number: signal.Signals) -> None:
    """Wait for ever. Another thread gets a signal when this one sleeps or is about to, so no call here ends by it."""
    ready = threading.Event()

    def interrupt() -> None:
        ready.wait()
        signal.pthread_kill(threading.get_ident(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    asyncio.get_running_loop().call_soon(ready.set)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        thread.join()


def test_a_signal_that_interrupts_nothing_ends_the_wait() -> None:
    with pytest.raises(KeyboardInterrupt):
        ferrio.run(interrupted(signal.SIGINT))
    assert wakeup_descriptor() == -1


def test_and_without_a_runner(loop: ferrio.Loop) -> None:
    task = loop.create_task(interrupted(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_a_handler_of_the_program_runs_at_once(loop: ferrio.Loop) -> None:
    def handler(number: int, frame: object) -> None:
        loop.stop()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        task = loop.create_task(interrupted(signal.SIGUSR1))
        loop.run_forever()
        assert signal.getsignal(signal.SIGUSR1) is handler
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_also_after_the_last_handler_of_the_loop_was_removed(loop: ferrio.Loop) -> None:
    async def main() -> None:
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.remove_signal_handler(signal.SIGUSR1)
        await interrupted(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())


def test_the_descriptor_is_the_loop_s_for_the_run_only(loop: ferrio.Loop) -> None:
    async def main() -> int:
        return wakeup_descriptor()

    assert loop.run_until_complete(main()) != -1
    assert wakeup_descriptor() == -1


def test_a_handler_of_the_loop_keeps_it_until_it_is_removed(loop: ferrio.Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.run_until_complete(asyncio.sleep(0))
    assert wakeup_descriptor() != -1
    loop.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_descriptor() == -1


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a program of its own might have set."""
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    yield pair
    for end in pair:
        end.close()


def test_a_descriptor_that_was_set_before_is_left_alone(
    loop: ferrio.Loop, ends: tuple[socket.socket, socket.socket]
) -> None:
    async def main() -> None:
        assert wakeup_descriptor() == ends[1].fileno()
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.set_wakeup_fd(ends[1].fileno())
    try:
        loop.run_until_complete(main())
        assert signal.set_wakeup_fd(-1) == ends[1].fileno()
        assert ends[0].recv(10) == bytes([signal.SIGUSR1])
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)


def test_a_descriptor_that_is_set_meanwhile_is_kept(
    loop: ferrio.Loop, ends: tuple[socket.socket, socket.socket]
) -> None:
    async def main() -> None:
        signal.set_wakeup_fd(ends[1].fileno())

    loop.run_until_complete(main())
    assert signal.set_wakeup_fd(-1) == ends[1].fileno()


def test_a_loop_in_another_thread_touches_nothing() -> None:
    seen: list[int] = []

    async def main() -> None:
        await asyncio.to_thread(go.wait)

    go = threading.Event()
    thread = threading.Thread(target=lambda: ferrio.run(main()))
    thread.start()
    seen.append(wakeup_descriptor())
    go.set()
    thread.join()
    assert seen == [-1]


def test_no_signal_of_a_burst_is_lost(loop: ferrio.Loop) -> None:
    count = 5000
    got: list[int] = []

    def burst() -> None:
        # Signals to this thread are handled before the call returns: none is merged with the next.
        for _ in range(count):
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    loop.add_signal_handler(signal.SIGTERM, loop.stop)
    loop.call_soon(burst)
    loop.run_forever()
    assert len(got) == count


def test_a_stream_of_signals_starves_nothing(loop: ferrio.Loop) -> None:
    """Each handler sends the next signal: whatever else is scheduled has its turns as well."""
    turns: list[str] = []

    def handler() -> None:
        turns.append("signal")
        os.kill(os.getpid(), signal.SIGUSR1)

    def other() -> None:
        turns.append("other")
        if turns.count("signal") >= 10:
            loop.stop()
        loop.call_soon(other)

    loop.add_signal_handler(signal.SIGUSR1, handler)
    loop.call_soon(handler)
    loop.call_soon(other)
    loop.run_forever()
    assert turns.count("other") >= 10
