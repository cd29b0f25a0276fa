"""The operations that are counted, each in a process of its own on each loop.

An operation is a coroutine function `operation(loop, names, rounds)` that does its thing `rounds`
times and whose docstring says what one operation is. `names` has asyncio's names as a program on
that loop would have them (`benches.loops.Names`); a name is looked up once, before the rounds.
A client is an async context manager `client(names, url)`, where `url` is that of the program that it
talks to: it connects, and gives the function that does its thing `rounds` times.
A round counts as one operation, or as the number that `@rounds_of` says.
"""

import importlib
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

Operation = Callable[..., Awaitable[None]]
Rounds = Callable[[int], Awaitable[None]]
Client = Callable[..., AbstractAsyncContextManager[Rounds]]
Marked = TypeVar("Marked", Operation, Client)

PER_ROUND: dict[Operation | Client, int] = {}
"""How many operations a round is, where that is not one."""


def rounds_of(count: int) -> Callable[[Marked], Marked]:
    """Marks an operation whose rounds consist of `count` operations each."""

    def mark(operation: Marked) -> Marked:
        PER_ROUND[operation] = count
        return operation

    return mark


def find(program: str) -> Any:
    """The operation or the client that a row calls MODULE.NAME."""
    module, _, name = program.rpartition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def noop(*_: object) -> None:
    """What is called where the call itself is what is measured."""


async def anoop() -> None:
    """The coroutine of the tasks whose making and running is what is measured."""
