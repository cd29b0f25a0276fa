"""The call graph (from Python 3.14 on) shows ferrio's tasks, also inside coroutines written in Rust."""

import asyncio
import io
import socket
import sys
from typing import Any

import ferrio
import pytest

if sys.version_info < (3, 14):
    pytest.skip("the call graph came with Python 3.14", allow_module_level=True)


async def suspended() -> tuple[Any, str]:
    """Return the call graph of a task that waits for one that waits in Rust, and how it is printed."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)

        async def inner() -> None:
            await asyncio.get_running_loop().sock_recv(left, 1)

        async def outer() -> None:
            async with ferrio.TaskGroup() as group:
                tasks.append(group.create_task(inner(), name="inner"))

        tasks: list[Any] = []
        waiting = asyncio.create_task(outer(), name="outer")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        graph = ferrio.capture_call_graph(tasks[0])
        printed = io.StringIO()
        ferrio.print_call_graph(tasks[0], file=printed)
        assert printed.getvalue().rstrip() == ferrio.format_call_graph(tasks[0])
        right.send(b"x")
        await waiting
    return graph, printed.getvalue()


def test_a_task_that_is_suspended_in_rust_is_shown_with_its_frames() -> None:
    graph, printed = ferrio.run(suspended())
    assert type(graph.future) is ferrio.Task
    names = [entry.frame.f_code.co_qualname for entry in graph.call_stack]
    assert names == ["Loop.sock_recv", "suspended.<locals>.inner"]
    assert [each.future.get_name() for each in graph.awaited_by] == ["outer"]
    assert "Task(name='inner'" in printed
    assert "Task(name='outer'" in printed
    assert "Loop.sock_recv()" in printed


def test_what_waits_for_a_future_is_told_by_hand() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future, waiter = loop.create_future(), loop.create_future()
        ferrio.future_add_to_awaited_by(future, waiter)
        graph = ferrio.capture_call_graph(future)
        assert [each.future for each in graph.awaited_by] == [waiter]
        ferrio.future_discard_from_awaited_by(future, waiter)
        assert not ferrio.capture_call_graph(future).awaited_by

    ferrio.run(main())


def test_the_own_stack_is_shown() -> None:
    async def main() -> str:
        text = ferrio.format_call_graph()
        assert text is not None
        return text

    assert "test_the_own_stack_is_shown.<locals>.main()" in ferrio.run(main())
