"""A scenario on asyncio's loop and on ferrio's, which must see the same."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from .differential import LOOPS, words

Scenario = Callable[[asyncio.AbstractEventLoop], Awaitable[Any]]


def both(scenario: Scenario, debug: bool = False) -> Any:
    """Run the scenario on both loops; what it returns must be equal, and is returned."""
    seen = {}
    for name, make_loop in LOOPS.items():
        with asyncio.Runner(debug=debug, loop_factory=make_loop) as runner:
            seen[name] = runner.run(within(scenario(runner.get_loop())))
    assert seen["ferrio"] == seen["asyncio"]
    return seen["ferrio"]


async def within(awaitable: Awaitable[Any], seconds: float = 60) -> Any:
    """What a hanging scenario ends with is a TimeoutError."""
    return await asyncio.wait_for(awaitable, seconds)


async def outcome(awaitable: Awaitable[Any]) -> str:
    """The result of the awaitable, or what it raised, in words that can be compared."""
    try:
        return words(await awaitable)
    except Exception as error:
        return words(error)


async def turns(count: int = 3) -> None:
    """Let the loop have a few turns."""
    for _ in range(count):
        await asyncio.sleep(0)
