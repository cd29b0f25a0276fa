"""Debug mode: slow callbacks, calls from the wrong thread, origins."""

import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ferrio
import pytest

Loop = asyncio.AbstractEventLoop


def run_until_idle(loop: Loop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_debug_mode_can_be_switched(loop: Loop) -> None:
    assert not loop.get_debug()
    loop.set_debug(True)
    assert loop.get_debug()
    assert "debug=True" in repr(loop)


@pytest.mark.parametrize(("options", "expected"), [([], False), (["-X", "dev"], True)])
def test_the_interpreter_s_development_mode_switches_it_on(
    options: list[str], expected: bool
) -> None:
    program = "import ferrio; loop = ferrio.Loop(); print(loop.get_debug()); loop.close()"
    command = [sys.executable, *options, "-c", program]
    assert subprocess.check_output(command, text=True) == f"{expected}\n"


def slow(seconds: float) -> None:
    time.sleep(seconds)


def test_a_slow_callback_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_soon(slow, 0.02)
    run_until_idle(loop)
    # On a busy machine another callback is slow as well.
    [record] = [record for record in caplog.records if "slow(0.02)" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert re.match(
        r"Executing <Handle slow\(0\.02\).* created at .*:\d+> took \d+\.\d{3} seconds$",
        record.getMessage(),
    )


def test_a_slow_step_of_a_task_is_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        slow(0.02)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.run_until_complete(main())
    # On a busy machine another step is slow as well.
    messages = [record.getMessage() for record in caplog.records]
    coro = "coro=<test_a_slow_step_of_a_task_is_logged.<locals>.main() "
    assert any(message.startswith("Executing <Task ") and coro in message for message in messages)


def test_a_quick_callback_is_not_logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 60
    loop.call_soon(slow, 0)
    run_until_idle(loop)
    assert caplog.records == []


def test_a_slow_protocol_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    import socket

    # asyncio names its own reader callback here, ferrio the transport.
    loop = ferrio.new_event_loop()

    class Slow(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            slow(0.02)
            loop.stop()

    async def connect() -> asyncio.BaseTransport:
        transport, _ = await loop.create_connection(Slow, sock=ours)
        return transport

    loop.set_debug(True)
    ours, theirs = socket.socketpair()
    with theirs:
        transport = loop.run_until_complete(connect())
        loop.slow_callback_duration = 0.01
        theirs.send(b"x")
        loop.run_forever()
        transport.abort()  # type: ignore[attr-defined]
        run_until_idle(loop)
    loop.close()
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.startswith("Executing <ferrio.StreamTransport fd=") for message in messages)


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_a_call_from_another_thread_is_refused(loop: Loop, method: str) -> None:
    raised: list[BaseException] = []
    arguments: tuple[Any, ...] = (print,) if method == "call_soon" else (0, print)

    def other() -> None:
        try:
            getattr(loop, method)(*arguments)
        except RuntimeError as error:
            raised.append(error)

    async def main() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    loop.set_debug(True)
    loop.run_until_complete(main())
    assert [str(error) for error in raised] == [
        "Non-thread-safe operation invoked on an event loop other than the current one"
    ]


def test_coroutines_remember_their_origin_while_the_loop_runs(loop: Loop) -> None:
    async def other() -> None:
        pass

    async def main() -> Any:
        coro: Any = other()
        coro.close()
        return coro.cr_origin

    outside = sys.get_coroutine_origin_tracking_depth()
    loop.set_debug(True)
    origin = loop.run_until_complete(main())
    assert origin is not None
    assert origin[0][2] == "main"
    assert sys.get_coroutine_origin_tracking_depth() == outside


def test_debug_mode_can_be_switched_while_the_loop_runs(loop: Loop) -> None:
    outside = sys.get_coroutine_origin_tracking_depth()

    async def main() -> tuple[int, int]:
        loop.set_debug(True)
        await asyncio.sleep(0)
        switched_on = sys.get_coroutine_origin_tracking_depth()
        loop.set_debug(False)
        await asyncio.sleep(0)
        return switched_on, sys.get_coroutine_origin_tracking_depth()

    switched_on, switched_off = loop.run_until_complete(main())
    assert switched_on > outside
    assert switched_off == outside


def test_a_report_tells_where_the_handle_was_made(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    loop.call_soon(int, "x")
    run_until_idle(loop)
    message = caplog.records[0].getMessage()
    assert "Object created at (most recent call last):" in message
    assert "test_a_report_tells_where_the_handle_was_made" in message


def test_a_cancelled_handle_still_tells_what_it_called(loop: Loop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(print, "x")
    timer = loop.call_later(10, print, "x")
    handle.cancel()
    timer.cancel()
    assert "cancelled print('x')" in repr(handle)
    assert "cancelled when=" in repr(timer)


def test_run_in_executor_refuses_coroutine_functions(make_loop: Callable[[], Loop]) -> None:
    loop = make_loop()
    loop.set_debug(True)

    async def main() -> None:
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            loop.run_in_executor(None, asyncio.sleep, 0)

    loop.run_until_complete(main())
    loop.close()
