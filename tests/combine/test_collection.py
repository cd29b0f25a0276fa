"""Cycles through what combines awaitables are collected, and what is dropped while it waits leaves nothing."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import ferrio
import pytest


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = ferrio.new_event_loop()
    # Of tasks that are destroyed while pending.
    loop.set_exception_handler(lambda loop, context: None)
    yield loop
    loop.close()


class Mark:
    cycle: Any


async def gather_of_futures(mark: Mark) -> None:
    child = asyncio.get_running_loop().create_future()
    gathering = ferrio.gather(child)
    child.cycle = gathering, mark  # type: ignore[attr-defined]


async def gather_in_a_task(mark: Mark) -> None:
    async def waits() -> None:
        mark.cycle = ferrio.gather(asyncio.get_running_loop().create_future())
        await mark.cycle

    ferrio.create_task(waits())
    await ferrio.sleep(0)


async def shield(mark: Mark) -> None:
    inner = asyncio.get_running_loop().create_future()
    inner.cycle = ferrio.shield(inner), mark  # type: ignore[attr-defined]


async def wait_in_a_task(mark: Mark) -> None:
    async def waits() -> None:
        mark.cycle = asyncio.get_running_loop().create_future()
        await ferrio.wait([mark.cycle])

    ferrio.create_task(waits())
    await ferrio.sleep(0)


async def group(mark: Mark) -> None:
    group = ferrio.TaskGroup()
    group.cycle = group, mark  # type: ignore[attr-defined]


async def group_with_tasks(mark: Mark) -> None:
    async def forever(group: Any) -> None:
        mark.cycle = group
        await asyncio.get_running_loop().create_future()

    async def body() -> None:
        async with ferrio.TaskGroup() as group:
            group.create_task(forever(group))

    ferrio.create_task(body())
    await ferrio.sleep(0)
    await ferrio.sleep(0)


async def timeout_in_a_task(mark: Mark) -> None:
    async def waits() -> None:
        async with ferrio.timeout(None) as mark.cycle:
            await asyncio.get_running_loop().create_future()

    ferrio.create_task(waits())
    await ferrio.sleep(0)


CYCLES: list[Callable[[Mark], Awaitable[None]]] = [
    gather_of_futures,
    gather_in_a_task,
    shield,
    wait_in_a_task,
    group,
    group_with_tasks,
    timeout_in_a_task,
]


@pytest.mark.parametrize("make", CYCLES, ids=lambda make: make.__name__)
def test_a_cycle_is_collected(make: Any, loop: asyncio.AbstractEventLoop) -> None:
    mark = Mark()
    reference = weakref.ref(mark)
    loop.run_until_complete(make(mark))
    del mark
    gc.collect()
    # What a finalizer let go of.
    gc.collect()
    assert reference() is None


def test_a_loop_lets_go_of_sleepers_and_time_outs(loop: asyncio.AbstractEventLoop) -> None:
    class Result:
        pass

    async def sleeps(result: Result) -> None:
        async with ferrio.timeout(1000):
            await ferrio.sleep(1000, result)

    async def main() -> Any:
        result = Result()
        ferrio.create_task(sleeps(result))
        await ferrio.sleep(0)
        return weakref.ref(result)

    reference = loop.run_until_complete(main())
    gc.collect()
    assert reference() is not None
    loop.close()
    gc.collect()
    assert reference() is None


def test_cancelled_sleeps_leave_no_timers(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> Any:
        tasks = [ferrio.create_task(ferrio.sleep(1000)) for _ in range(10)]
        await ferrio.sleep(0)
        futures = [weakref.ref(task._fut_waiter) for task in tasks]
        for task in tasks:
            task.cancel()
        await ferrio.wait(tasks)
        return futures

    futures = loop.run_until_complete(main())
    assert [reference() for reference in futures] == [None] * 10
