"""The exception handler: who gets what nobody caught."""

import asyncio
import contextvars
import gc
import sys
from typing import Any

import ferrio
import pytest

Loop = asyncio.AbstractEventLoop


def run_until_idle(loop: Loop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_the_default_handler_logs(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_soon(int, "x")
    run_until_idle(loop)
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("Exception in callback int(")
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def test_a_handler_gets_the_loop_and_the_context(loop: Loop) -> None:
    got: list[Any] = []
    loop.set_exception_handler(lambda *args: got.append(args))
    context = {"message": "hello", "anything": 1}
    loop.call_exception_handler(context)
    assert got == [(loop, context)]
    assert loop.get_exception_handler() is not None
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_a_handler_that_raises_falls_back_to_the_default(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(loop: Loop, context: dict[str, Any]) -> None:
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(int, "x")
    run_until_idle(loop)
    assert "Unhandled error in exception handler" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_handler_s_exit_leaves_the_loop(loop: Loop, kind: type[BaseException]) -> None:
    def handler(loop: Loop, context: dict[str, Any]) -> None:
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(int, "x")
    with pytest.raises(kind):
        run_until_idle(loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="from 3.12 on")
def test_the_handler_runs_in_the_context_of_the_callback(loop: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    got: list[str] = []
    loop.set_exception_handler(lambda *_: got.append(variable.get()))
    token = variable.set("inside")
    loop.call_soon(int, "x")
    variable.reset(token)
    run_until_idle(loop)
    assert got == ["inside"]


def test_a_task_s_exception_that_nobody_takes_is_reported(loop: Loop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    async def fail() -> None:
        raise LookupError("no")

    async def main() -> None:
        loop.create_task(fail())  # Nobody keeps it: that is what is tested.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    gc.collect()
    assert [report["message"] for report in reports] == ["Task exception was never retrieved"]
    assert str(reports[0]["exception"]) == "no"
    assert "task" in reports[0] or "future" in reports[0]


def test_a_protocol_s_exception_in_debug_mode_is_logged_as_such(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    import socket

    class Failing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise LookupError("in the protocol")

        def connection_lost(self, exc: Exception | None) -> None:
            loop.stop()

    async def connect() -> None:
        await loop.create_connection(Failing, sock=ours)

    loop.set_debug(True)
    ours, theirs = socket.socketpair()
    with theirs:
        loop.run_until_complete(connect())
        theirs.send(b"x")
        loop.run_forever()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert errors[0].getMessage().startswith("Fatal error: protocol.data_received() call failed.\n")


@pytest.mark.parametrize("sleep", [asyncio.sleep, ferrio.sleep])
def test_what_the_end_of_a_sleep_raises_is_reported(loop: Loop, sleep: Any) -> None:
    heard: list[Any] = []
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))
    loop.set_debug(True)

    async def no_callback(_: Any) -> None:
        pass

    async def main() -> str:
        waiting = sleep(0.001)
        waiting.send(None).add_done_callback(no_callback)
        await asyncio.sleep(0.01)
        waiting.close()
        return "goes on"

    assert loop.run_until_complete(main()) == "goes on"
    [error] = heard
    assert isinstance(error, TypeError)
