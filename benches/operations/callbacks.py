"""Operations of the loop's callbacks, from its own thread and from another."""

import threading
from asyncio import AbstractEventLoop

from benches.loops import Names
from benches.operations import noop, rounds_of


async def call_soon(loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """A callback is scheduled with `call_soon`, and runs. Each schedules the next, so that every
    one takes a turn of the loop."""
    done = loop.create_future()
    left = rounds

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


@rounds_of(1_000)
async def call_later_cancel(loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """A callback is scheduled with `call_later` for a minute later, and cancelled at once. After a
    thousand of them the loop makes one turn, as a server does after a batch of requests whose
    time-outs were not needed."""
    sleep = names.sleep
    for _ in range(rounds):
        for _ in range(1_000):
            loop.call_later(60, noop).cancel()
        await sleep(0)


async def call_soon_threadsafe(loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """A callback is scheduled with `call_soon_threadsafe` by another thread, as fast as that goes,
    and runs in the loop. The time ends when the last has run."""
    done = loop.create_future()

    def schedule() -> None:
        for _ in range(rounds):
            loop.call_soon_threadsafe(noop)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=schedule)
    thread.start()
    await done
    thread.join()
