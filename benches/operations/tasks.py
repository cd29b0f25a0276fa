"""Operations of tasks and of what combines them."""

from asyncio import AbstractEventLoop, sleep

from benches.loops import Names
from benches.operations import anoop, rounds_of


async def sleep_zero(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """One task awaits `sleep(0)`: one turn of the loop."""
    sleep = names.sleep
    for _ in range(rounds):
        await sleep(0)


async def stdlib_sleep_zero(_loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """One task awaits `sleep(0)` of the stdlib, as code that says `asyncio.sleep` does on any loop."""
    for _ in range(rounds):
        await sleep(0)


async def create_task(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """A task of a coroutine that returns at once is made with `create_task`, and awaited."""
    create_task = names.create_task
    for _ in range(rounds):
        await create_task(anoop())


@rounds_of(5_000)
async def gather(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """One of the 5,000 coroutines that return at once and are awaited together by `gather`."""
    gather = names.gather
    for _ in range(rounds):
        await gather(*[anoop() for _ in range(5_000)])


@rounds_of(5_000)
async def task_group(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """One of the 5,000 tasks, of a coroutine that returns at once, that a `TaskGroup` makes and
    waits for."""
    task_group = names.TaskGroup
    for _ in range(rounds):
        async with task_group() as group:
            for _ in range(5_000):
                group.create_task(anoop())


async def wait_for(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """`wait_for(sleep(0), 10)` is awaited, and is in time."""
    wait_for, sleep = names.wait_for, names.sleep
    for _ in range(rounds):
        await wait_for(sleep(0), 10)


@rounds_of(50_000)
async def timers(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """One of 50,000 sleeps that `gather` awaits together; they end within ten milliseconds, in an
    order other than that in which they were begun."""
    gather, sleep = names.gather, names.sleep
    delays = [index * 7_919 % 50_000 / 50_000 * 0.01 for index in range(50_000)]
    for _ in range(rounds):
        await gather(*[sleep(delay) for delay in delays])
