"""The operations that are counted, each in a process of its own on each loop.

An operation is a coroutine function `operation(loop, names, rounds)` that does its thing `rounds`
times and whose docstring says what one operation is. `names` has asyncio's names as a program on
that loop would have them (`benches.loops.Names`); a name is looked up once, before the rounds.
A round counts as one operation, or as the number that `@rounds_of` says.
"""

from collections.abc import Awaitable, Callable

Operation = Callable[..., Awaitable[None]]

PER_ROUND: dict[Operation, int] = {}
"""How many operations a round is, where that is not one."""


def rounds_of(count: int) -> Callable[[Operation], Operation]:
    """Marks an operation whose rounds consist of `count` operations each."""

    def mark(operation: Operation) -> Operation:
        PER_ROUND[operation] = count
        return operation

    return mark


def noop(*_: object) -> None:
    """What is called where the call itself is what is measured."""


async def anoop() -> None:
    """The coroutine of the tasks whose making and running is what is measured."""
