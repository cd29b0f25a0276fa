"""Random programs of each primitive, to run on two implementations and compare what happened.

A world is one primitive with the tasks that wait at it. A step does one thing to it: starts a task that waits, does
what needs no waiting, cancels a task, or lets the loop take a turn. Everything that comes of it is written down in
order. What step comes next depends on the seed and on what was written down alone, so that two implementations which
agree are asked the same.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, ClassVar

STEPS_IN_A_WORLD = 250

_ADDRESS = re.compile(" at 0x[0-9a-f]+")
# What makes a primitive show the containers that ferrio has in Rust until then.
_CONTAINERS = ["_waiters", "_queue", "_getters", "_putters"]


class World:
    """One primitive of `module`, and what happened to it."""

    # How often each method is chosen beside the others.
    weights: ClassVar[dict[str, int]] = {"cancel": 2, "turn": 6, "show": 1}

    def __init__(self, module: ModuleType, rng: random.Random):
        self.rng = rng
        self.record: list[object] = []
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._started = 0
        self.subject: Any = self.make(module)
        if rng.random() < 0.2:
            self.peek()
        self._steps: list[Callable[[], Awaitable[None] | None]] = [
            getattr(self, name) for name, weight in self.weights.items() for _ in range(weight)
        ]

    def make(self, module: ModuleType) -> object:
        raise NotImplementedError

    async def live(self) -> list[object]:
        """Take all steps, then end all tasks; return what happened."""
        for _ in range(STEPS_IN_A_WORLD):
            step = self.rng.choice(self._steps)
            self.record.append(step.__name__)
            waited = step()
            if waited is not None:
                await waited
        for _ in range(1000):
            alive = self._alive()
            if not alive:
                break
            for number in alive:
                self._tasks[number].cancel()
            self.unlock()
            await asyncio.sleep(0)
        self.record.append(("left", self._alive()))
        self.show()
        return self.record

    def unlock(self) -> None:
        """Let those go on who need more than to be cancelled."""

    def start(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Let a task wait for what this function returns."""
        self._started += 1
        number = self._started
        self._tasks[number] = self._loop.create_task(self._follow(number, function, *args))

    async def _follow(self, number: int, function: Callable[..., Awaitable[object]], *args: object):
        try:
            outcome: object = await function(*args)
        except BaseException as error:
            outcome = describe(error)
        self.record.append((number, outcome))

    def _alive(self) -> list[int]:
        for number in [number for number, task in self._tasks.items() if task.done()]:
            del self._tasks[number]
        return list(self._tasks)

    def now(self, function: Callable[..., object], *args: object) -> None:
        """Do what needs no waiting."""
        try:
            outcome = function(*args)
        except Exception as error:
            outcome = describe(error)
        self.record.append(outcome)

    def cancel(self) -> None:
        alive = self._alive()
        if alive:
            number = self.rng.choice(alive)
            self.record.append((number, self._tasks[number].cancel()))

    async def turn(self) -> None:
        await asyncio.sleep(0)

    def peek(self) -> None:
        containers = [getattr(self.subject, name, None) for name in _CONTAINERS]
        self.record.append([list(container or ()) for container in containers])

    def show(self) -> None:
        self.record.append(_ADDRESS.sub("", repr(self.subject)).replace("asyncio.locks", "ferrio"))


def describe(error: BaseException) -> tuple[type, str]:
    return type(error), str(error)


class LockWorld(World):
    weights: ClassVar = {**World.weights, "acquire": 4, "release": 4, "enter": 2}

    def make(self, module):
        return module.Lock()

    def acquire(self):
        self.start(self.subject.acquire)

    def release(self):
        self.now(self.subject.release)

    def enter(self):
        self.start(self._enter)

    async def _enter(self):
        async with self.subject:
            self.record.append(self.subject.locked())
            for _ in range(self.rng.randrange(3)):
                await asyncio.sleep(0)
        return self.subject.locked()

    def unlock(self):
        if self.subject.locked():
            self.subject.release()


class EventWorld(World):
    weights: ClassVar = {**World.weights, "wait": 5, "set": 2, "clear": 3}

    def make(self, module):
        return module.Event()

    def wait(self):
        self.start(self.subject.wait)

    def set(self):
        self.now(self.subject.set)

    def clear(self):
        self.now(self.subject.clear)


class ConditionWorld(World):
    weights: ClassVar = {
        **World.weights,
        "acquire": 2,
        "release": 5,
        "wait": 4,
        "wait_unlocked": 1,
        "wait_for": 2,
        "notify": 3,
        "notify_all": 1,
        "change": 2,
    }

    def make(self, module):
        self.value = 0
        return module.Condition(module.Lock() if self.rng.random() < 0.2 else None)

    def acquire(self):
        self.start(self.subject.acquire)

    def release(self):
        self.now(self.subject.release)

    def wait(self):
        self.start(self._wait)

    async def _wait(self):
        async with self.subject:
            return await self.subject.wait()

    def wait_unlocked(self):
        self.start(self.subject.wait)

    def wait_for(self):
        self.start(self._wait_for, self.rng.randrange(4))

    async def _wait_for(self, value):
        async with self.subject:
            return await self.subject.wait_for(lambda: self.value == value and f"is {value}")

    def notify(self):
        self.now(self.subject.notify, self.rng.randrange(4))

    def notify_all(self):
        self.now(self.subject.notify_all)

    def change(self):
        self.value = self.rng.randrange(4)

    def unlock(self):
        if self.subject.locked():
            self.subject.release()


class SemaphoreWorld(World):
    weights: ClassVar = {**World.weights, "acquire": 5, "release": 4, "enter": 2, "locked": 1}

    def make(self, module):
        return module.Semaphore(self.rng.randrange(4))

    def acquire(self):
        self.start(self.subject.acquire)

    def release(self):
        self.now(self.subject.release)

    def locked(self):
        self.now(self.subject.locked)

    def enter(self):
        self.start(self._enter)

    async def _enter(self):
        async with self.subject:
            await asyncio.sleep(0)


class BoundedSemaphoreWorld(SemaphoreWorld):
    def make(self, module):
        return module.BoundedSemaphore(self.rng.randrange(4))

    async def _enter(self):
        async with self.subject:
            self.record.append("entered")


class BarrierWorld(World):
    weights: ClassVar = {**World.weights, "wait": 6, "enter": 2, "reset": 1, "abort": 1, "look": 1}

    def make(self, module):
        return module.Barrier(self.rng.randrange(1, 5))

    def wait(self):
        self.start(self.subject.wait)

    def enter(self):
        self.start(self._enter)

    async def _enter(self):
        async with self.subject as index:
            return index

    def reset(self):
        self.start(self.subject.reset)

    def abort(self):
        if self.rng.random() < 0.3:
            self.start(self.subject.abort)

    def look(self):
        barrier = self.subject
        self.record.append((barrier.parties, barrier.n_waiting, barrier.broken))


class QueueWorld(World):
    weights: ClassVar = {
        **World.weights,
        "put": 4,
        "get": 4,
        "put_nowait": 2,
        "get_nowait": 2,
        "task_done": 3,
        "join": 1,
        "look": 1,
        **({"shutdown": 1} if hasattr(asyncio.Queue, "shutdown") else {}),
    }
    kind = "Queue"

    def make(self, module):
        return getattr(module, self.kind)(self.rng.randrange(4))

    def item(self):
        return self.rng.randrange(100)

    def put(self):
        self.start(self.subject.put, self.item())

    def get(self):
        self.start(self.subject.get)

    def put_nowait(self):
        self.now(self.subject.put_nowait, self.item())

    def get_nowait(self):
        self.now(self.subject.get_nowait)

    def task_done(self):
        self.now(self.subject.task_done)

    def join(self):
        self.start(self.subject.join)

    def look(self):
        queue = self.subject
        self.record.append((queue.qsize(), queue.empty(), queue.full(), queue.maxsize))

    def shutdown(self):
        # Seldom: nothing much happens afterwards.
        if self.rng.random() < 0.1:
            self.now(self.subject.shutdown, self.rng.random() < 0.3)


class LifoQueueWorld(QueueWorld):
    kind = "LifoQueue"


class PriorityQueueWorld(QueueWorld):
    kind = "PriorityQueue"

    def item(self):
        # Now and then one that can't be compared with the others.
        return self.rng.randrange(100) if self.rng.random() < 0.95 else "text"


WORLDS: list[type[World]] = [
    LockWorld,
    EventWorld,
    ConditionWorld,
    SemaphoreWorld,
    BoundedSemaphoreWorld,
    BarrierWorld,
    QueueWorld,
    LifoQueueWorld,
    PriorityQueueWorld,
]


async def live(kind: type[World], module: ModuleType, seed: int) -> list[object]:
    """What happens in the world of this kind and seed."""
    return await kind(module, random.Random(seed)).live()
