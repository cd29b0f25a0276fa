"""Garbage: what nobody holds is collected, cycles and unclosed loops too."""

import asyncio
import gc
import os
import socket
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop


class Witness:
    """An object whose end a weak reference tells."""

    def __init__(self) -> None:
        self.kept: Any = None

    def __call__(self, *args: Any) -> None:
        pass


def collected(make: Callable[[], Any]) -> bool:
    """Whether what `make` makes, and drops, is collected by the time that it has returned or soon after."""
    reference = weakref.ref(make())
    gc.collect()
    return reference() is None


def open_descriptors() -> int:
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize(
    "what", ["nothing", "handles", "timers", "reader", "task", "signal", "server"]
)
def test_an_unclosed_loop_is_collected_with_a_warning_and_all_it_holds(
    make_loop: Callable[[], Loop], what: str
) -> None:
    ours, theirs = socket.socketpair()

    def make() -> Witness:
        loop = make_loop()
        witness = Witness()
        witness.kept = loop
        if what == "handles":
            witness.kept = loop, loop.call_soon(witness, loop), loop.call_soon_threadsafe(witness)
        elif what == "timers":
            witness.kept = loop, loop.call_later(100, witness, loop), loop.call_at(1e300, witness)
        elif what == "reader":
            loop.add_reader(ours, witness, loop)
            loop.add_writer(ours, witness, loop)
        elif what == "task":

            async def wait() -> None:
                witness.kept = loop, loop.create_future()
                await witness.kept[1]

            task = loop.create_task(wait())
            loop.call_soon(loop.stop)
            loop.run_forever()
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        elif what == "signal":
            import signal

            loop.add_signal_handler(signal.SIGUSR1, witness, loop)
        elif what == "server":

            class Protocol(asyncio.Protocol):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    witness.kept = loop, serving, self, transport
                    loop.stop()

            serving = loop.run_until_complete(loop.create_server(Protocol, "127.0.0.1", 0))
            with socket.create_connection(serving.sockets[0].getsockname()):
                loop.run_forever()
        return witness

    with ours, theirs:
        before = open_descriptors()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reference = weakref.ref(make())
            gc.collect()
        unclosed = [str(w.message) for w in caught if w.category is ResourceWarning]
        # A recorded warning holds the transport that it warns of, and so all of the loop.
        caught.clear()
        gc.collect()
        assert reference() is None
        assert open_descriptors() == before
    assert any(message.startswith("unclosed event loop <") for message in unclosed), unclosed


def test_a_closed_loop_holds_nothing_and_warns_of_nothing(make_loop: Callable[[], Loop]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop = make_loop()
        witness = Witness()
        loop.call_soon(witness)
        loop.call_later(100, witness)
        loop.close()
        reference = weakref.ref(witness)
        del witness
        gc.collect()
        assert reference() is None
    assert caught == []


def test_a_handle_that_ran_holds_no_callback_once_it_is_dropped(loop: Loop) -> None:
    witness = Witness()
    reference = weakref.ref(witness)
    loop.call_soon(witness, witness)
    del witness
    assert reference() is not None
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert reference() is None


@pytest.mark.parametrize("method", ["call_soon", "call_later"])
def test_a_cancelled_handle_lets_go_of_its_callback_at_once(loop: Loop, method: str) -> None:
    witness = Witness()
    reference = weakref.ref(witness)
    arguments: tuple[Any, ...] = () if method == "call_soon" else (100,)
    handle = getattr(loop, method)(*arguments, witness, witness, 2)
    del witness
    handle.cancel()
    assert reference() is None


@pytest.mark.parametrize("method", ["call_soon", "call_later"])
def test_a_cycle_through_a_handle_is_collected(loop: Loop, method: str) -> None:
    def make() -> Witness:
        witness = Witness()
        arguments: tuple[Any, ...] = () if method == "call_soon" else (0,)
        witness.kept = getattr(loop, method)(*arguments, witness)
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        return witness

    assert collected(make)


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe"])
def test_a_cycle_through_a_handle_made_while_the_loop_ran_is_collected(
    loop: Loop, method: str
) -> None:
    def make() -> Witness:
        witness = Witness()

        async def schedule() -> None:
            witness.kept = getattr(loop, method)(witness)
            gc.collect()
            await asyncio.sleep(0)

        loop.run_until_complete(schedule())
        return witness

    assert collected(make)


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "add_done_callback"])
def test_handles_that_wait_when_the_loop_stops_are_collected_with_it(
    make_loop: Callable[[], Loop], method: str
) -> None:
    def make() -> Witness:
        loop = make_loop()
        witness = Witness()

        def schedule() -> None:
            loop.stop()
            if method == "add_done_callback":
                future = loop.create_future()
                future.add_done_callback(witness)
                future.set_result(None)
                witness.kept = loop, future
            else:
                witness.kept = loop, getattr(loop, method)(witness)

        loop.call_soon(schedule)
        loop.run_forever()
        return witness

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert collected(make)


def test_a_cycle_through_a_context_is_collected(loop: Loop) -> None:
    import contextvars

    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")

    def make() -> Witness:
        witness = Witness()

        def call() -> None:
            variable.set(witness)
            witness.kept = loop.call_soon(int)

        contextvars.Context().run(call)
        loop.call_soon(loop.stop)
        loop.run_forever()
        return witness

    assert collected(make)


def test_the_last_reference_to_the_loop_may_go_in_a_callback(make_loop: Callable[[], Loop]) -> None:
    holder = [make_loop()]
    holder[0].call_soon(holder.pop)
    reference = weakref.ref(holder[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The loop is alive as long as it runs: the frame of run_forever() holds it.
        holder[0].call_soon(lambda loop: loop.stop(), holder[0])
        holder[0].run_forever()
        gc.collect()
    assert holder == []
    assert reference() is None


def test_a_finalizer_may_schedule_while_the_loop_closes(loop: Loop) -> None:
    heard: list[str] = []

    class Late:
        def __call__(self) -> None:
            pass

        def __del__(self) -> None:
            try:
                loop.call_soon(print)
            except RuntimeError as error:
                heard.append(str(error))

    loop.call_soon(Late())
    loop.call_later(100, Late())
    loop.close()
    gc.collect()
    assert heard == ["Event loop is closed"] * 2


def test_handles_that_are_used_again_keep_nothing_of_their_first_use(loop: Loop) -> None:
    # A thousand handles come from the list of free ones here.
    for _ in range(3):
        references = []
        for _ in range(1000):
            witness = Witness()
            references.append(weakref.ref(witness))
            loop.call_soon(witness, witness, witness)
        del witness
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert [reference for reference in references if reference() is not None] == []


def test_running_a_hundred_thousand_callbacks_leaves_the_reference_counts(loop: Loop) -> None:
    witness = Witness()
    gc.collect()
    before = sys.getrefcount(witness), sys.getrefcount(loop)
    for _ in range(100):
        for _ in range(500):
            loop.call_soon(witness, loop)
            loop.call_later(0, witness, loop, witness)
            loop.call_soon(witness, loop).cancel()
            loop.call_later(100, witness, loop).cancel()
        loop.call_soon(loop.stop)
        loop.run_forever()
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    gc.collect()
    assert (sys.getrefcount(witness), sys.getrefcount(loop)) == before
