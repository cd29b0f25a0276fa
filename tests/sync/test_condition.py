"""What a wait for a condition raises, and how many it wakes: the same as asyncio's."""

import asyncio
import math
from typing import Any

import pytest

from tests.combine.side_by_side import chain, everywhere, words


@pytest.mark.parametrize("handling", [False, True])
@pytest.mark.parametrize("notified", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_what_a_cancelled_wait_raises(notified: bool, again: bool, handling: bool) -> None:
    """It was notified or cancelled, and then perhaps cancelled while it waited for the lock."""

    async def scenario(lib: Any) -> list[Any]:
        condition = lib.Condition()
        seen: list[Any] = []

        async def wait() -> None:
            async with condition:
                try:
                    await condition.wait()
                except asyncio.CancelledError as error:
                    seen.append(chain(error))
                    raise

        async def handle() -> None:
            try:
                raise ValueError("handled")
            except ValueError:
                await wait()

        task = lib.create_task(handle() if handling else wait())
        await lib.sleep(0)
        await lib.sleep(0)
        await condition.acquire()
        if notified:
            condition.notify()
        else:
            task.cancel("one")
        await lib.sleep(0)
        await lib.sleep(0)
        if again:
            task.cancel("two")
            await lib.sleep(0)
            await lib.sleep(0)
        condition.release()
        try:
            await task
        except asyncio.CancelledError as error:
            seen.append(chain(error))
        return seen

    seen = everywhere(scenario)
    assert len(seen) == (2 if again or not notified else 0)


@pytest.mark.parametrize(
    "count", [0, 1, -1, True, 1.5, math.inf, -math.inf, math.nan, 10**30, -(10**30), "x", None]
)
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("waiting", [0, 3])
def test_how_many_are_notified(count: Any, locked: bool, waiting: int) -> None:
    async def scenario(lib: Any) -> list[Any]:
        condition = lib.Condition()
        seen: list[Any] = []

        async def wait(number: int) -> None:
            async with condition:
                await condition.wait()
                seen.append(number)

        tasks = [lib.create_task(wait(number)) for number in range(waiting)]
        for _ in range(waiting + 1):
            await lib.sleep(0)
        if locked:
            await condition.acquire()
        try:
            seen.append(condition.notify(count))
        except Exception as error:
            seen.append(words(error))
        if locked:
            condition.release()
        for _ in range(2 * waiting):
            await lib.sleep(0)
        for task in tasks:
            task.cancel()
        await lib.gather(*tasks, return_exceptions=True)
        return seen

    everywhere(scenario)


def test_a_condition_of_another_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Up to 3.12 it lets go of the lock before it finds out."""

    async def scenario(lib: Any) -> list[Any]:
        condition = lib.Condition()
        seen: list[Any] = []

        async def elsewhere() -> None:
            async with condition:
                lib.create_task(holds())
                try:
                    await condition.wait()
                except RuntimeError as error:
                    seen.append(
                        ("locked" if "[locked]" in str(error) else "free", condition.locked())
                    )

        async def holds() -> None:
            async with condition:
                seen.append("holds")

        async def bind() -> None:
            async with condition:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(condition.wait(), 0.001)

        await bind()
        # The loop that runs now is forgotten, as if the condition were another's.
        condition._loop = loop
        await elsewhere()
        return seen

    everywhere(scenario)
