"""Operations that hand something over: through a future, a queue, a thread."""

from asyncio import AbstractEventLoop

from benches.loops import Names
from benches.operations import noop


async def future(loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """A future is made, its `set_result` scheduled with `call_soon`, and the future awaited."""
    for _ in range(rounds):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def queue(_loop: AbstractEventLoop, names: Names, rounds: int) -> None:
    """An item passes through a `Queue(1)`: one task puts, another gets, and each waits for the
    other."""
    queue = names.Queue(1)

    async def produce() -> None:
        for item in range(rounds):
            await queue.put(item)

    producer = names.create_task(produce())
    for _ in range(rounds):
        await queue.get()
    await producer


async def run_in_executor(loop: AbstractEventLoop, _names: Names, rounds: int) -> None:
    """A function that does nothing is run by the loop's default executor, and its result awaited,
    one after the other."""
    for _ in range(rounds):
        await loop.run_in_executor(None, noop)
