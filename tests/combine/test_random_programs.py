"""Random programs of tasks, gathers, groups, shields, waits and time-outs, cancelled at random turns.

What happens in which turn of the loop must be the same with asyncio's combinators and with ferrio's.
"""

import asyncio
import gc
import random
import sys
from collections.abc import Iterator
from typing import Any

import ferrio
import pytest

PROGRAMS = 400
TURNS = 12


class Program:
    """One program, the same for every `Random` of the same seed."""

    def __init__(self, lib: Any, seed: int) -> None:
        self.lib = lib
        self.random = random.Random(seed)
        # (turn, what happened)
        self.log: list[tuple[int, str]] = []
        self.turn = 0
        self.tasks: dict[str, Any] = {}
        self.count = 0

    def say(self, what: str) -> None:
        self.log.append((self.turn, what))

    def make(self, depth: int) -> Any:
        """A coroutine of a random kind. Its choices are made now, so that their order is that of the seed."""
        self.count += 1
        name = f"{self.count}"
        kinds = [self.leaf]
        if depth:
            kinds += [self.gather, self.group, self.wait, self.shield, self.timeout, self.wait_for]
        return self.random.choice(kinds)(name, depth)

    def leaf(self, name: str, depth: int) -> Any:
        turns, end = self.random.randrange(5), self.random.choice(["return", "raise", "ignore"])

        async def leaf() -> str:
            self.say(f"{name} begins")
            try:
                for _ in range(turns):
                    await self.lib.sleep(0)
            except asyncio.CancelledError as error:
                self.say(f"{name} is cancelled {error.args}")
                if end != "ignore":
                    raise
            if end == "raise":
                raise ValueError(name)
            self.say(f"{name} returns")
            return name

        return leaf()

    def children(self, depth: int) -> list[Any]:
        return [self.make(depth - 1) for _ in range(self.random.randrange(1, 4))]

    def gather(self, name: str, depth: int) -> Any:
        children, return_exceptions = self.children(depth), self.random.random() < 0.5
        turns = self.random.randrange(3)

        async def gather() -> Any:
            gathering = self.lib.gather(*children, return_exceptions=return_exceptions)
            for _ in range(turns):
                await self.lib.sleep(0)
            result = await gathering
            self.say(f"{name} gathered {result}")
            return name

        return self.told(name, gather())

    def group(self, name: str, depth: int) -> Any:
        children, turns = self.children(depth), self.random.randrange(4)
        raises = self.random.random() < 0.2

        async def group() -> Any:
            async with self.lib.TaskGroup() as group:
                for child in children:
                    group.create_task(child)
                for _ in range(turns):
                    await self.lib.sleep(0)
                if raises:
                    raise KeyError(name)
            self.say(f"{name} is complete")
            return name

        return self.told(name, group())

    def wait(self, name: str, depth: int) -> Any:
        children = self.children(depth)
        when = self.random.choice(["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])

        async def wait() -> Any:
            tasks = {self.lib.create_task(child): number for number, child in enumerate(children)}
            done, _ = await self.lib.wait(tasks, return_when=when)
            self.say(f"{name} has {sorted(tasks[task] for task in done)}")
            for task in tasks:
                task.cancel()
            await self.lib.gather(*tasks, return_exceptions=True)
            return name

        return self.told(name, wait())

    def shield(self, name: str, depth: int) -> Any:
        child = self.make(depth - 1)

        async def shield() -> Any:
            inner = self.lib.ensure_future(child)
            try:
                return await self.lib.shield(inner)
            finally:
                self.say(f"{name} {inner.done()}")

        return self.told(name, shield())

    def timeout(self, name: str, depth: int) -> Any:
        child, delay = self.make(depth - 1), self.random.choice([None, 0, -1, 1000])

        async def within() -> Any:
            async with self.lib.timeout(delay) as timeout:
                try:
                    return await child
                finally:
                    self.say(f"{name} {timeout.expired()}")

        return self.told(name, within())

    def wait_for(self, name: str, depth: int) -> Any:
        child, delay = self.make(depth - 1), self.random.choice([None, 0, 1000])

        async def wait_for() -> Any:
            return await self.lib.wait_for(child, delay)

        return self.told(name, wait_for())

    async def told(self, name: str, body: Any) -> Any:
        """Run the body and tell how it ends."""
        self.tasks[name] = asyncio.current_task()
        try:
            return await body
        except BaseException as error:
            self.say(f"{name} raises {shown(error)}")
            raise

    async def main(self) -> list[tuple[int, str]]:
        roots = [self.lib.create_task(self.make(3)) for _ in range(3)]
        strikes = {self.random.randrange(TURNS): self.random.randrange(1, 30) for _ in range(4)}
        for self.turn in range(TURNS):
            if strike := strikes.get(self.turn):
                task = self.tasks.get(str(strike))
                self.say(f"strike {strike} {task is not None and task.cancel(strike)}")
            await self.lib.sleep(0)
        while not all(root.done() for root in roots):
            self.turn += 1
            for root in roots:
                root.cancel("the end")
            await self.lib.sleep(0)
        for root in roots:
            self.say("cancelled" if root.cancelled() else shown(root.exception()))
            self.say(f"{root.cancelling()}")
        # In what order a set's tasks are cancelled depends on their addresses.
        return sorted(self.log)


def shown(error: BaseException | None) -> str:
    """The error, and those of a group in an order of their own: theirs, too, depends on addresses."""
    if not isinstance(error, BaseExceptionGroup):
        return repr(error)
    return f"{type(error).__name__}({error.message!r}, {sorted(map(shown, error.exceptions))})"


def run(lib: Any, make_loop: Any, seed: int, eager: bool) -> list[tuple[int, str]]:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        loop = runner.get_loop()
        if eager:
            loop.set_task_factory(lib.eager_task_factory)
        # Of exceptions that a program doesn't retrieve.
        loop.set_exception_handler(lambda loop, context: None)
        return runner.run(Program(lib, seed).main())


@pytest.fixture
def collector_off() -> Iterator[None]:
    """Collections only between programs.

    One that comes inside of a namedtuple's `__new__`, whose builtins are empty, can't warn of a coroutine that was
    never awaited: CPython imports `warnings` with the `__import__` of the frame that runs, and complains of a
    KeyError. The stdlib's loop makes a namedtuple for each file descriptor.
    """
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector_off")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("eager", [False, True])
def test_what_happens_in_which_turn(eager: bool) -> None:
    if eager and sys.version_info < (3, 12):
        pytest.skip("no eager tasks before")
    first = random.randrange(1 << 32)
    for seed in range(first, first + PROGRAMS):
        ours = run(ferrio, ferrio.new_event_loop, seed, eager)
        assert ours == run(asyncio, asyncio.SelectorEventLoop, seed, eager), f"seed {seed}"
        if seed % 20 == 0:
            gc.collect()
