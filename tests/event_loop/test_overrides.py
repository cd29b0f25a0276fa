"""Methods of the loop that a program has put others in the place of: in a subclass, on a class, on one loop."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import ferrio
import pytest

Loop = asyncio.AbstractEventLoop
CLASSES: dict[str, type[Any]] = {"asyncio": asyncio.SelectorEventLoop, "ferrio": ferrio.Loop}
SLEEPS: dict[str, Callable[..., Any]] = {"asyncio": asyncio.sleep, "ferrio": ferrio.sleep}


@pytest.fixture(params=CLASSES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(loop: Loop, main: Any) -> Any:
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


@pytest.mark.parametrize("zero", [-1e6, 0.0, 1e9])
def test_timers_go_by_a_clock_with_another_zero(name: str, zero: float) -> None:
    class Clock(CLASSES[name]):  # type: ignore[misc]
        def time(self) -> float:
            return super().time() + zero  # type: ignore[no-any-return]

    async def main() -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + 0.003, order.append, "at")
        loop.call_later(0.001, order.append, "later")
        late = loop.call_later(1000, order.append, "too late")
        async with asyncio.timeout(60):
            await SLEEPS[name](0.01)
        late.cancel()
        return order

    begin = time.monotonic()
    assert run(Clock(), main()) == ["later", "at"]
    assert time.monotonic() - begin >= 0.01


@pytest.mark.parametrize("place", ["subclass", "instance", "class"])
def test_a_program_s_clock_may_jump(name: str, place: str) -> None:
    now = [0.0]

    class Mine(CLASSES[name]):  # type: ignore[misc]
        pass

    loop = Mine()

    def replace() -> None:
        if place == "instance":
            loop.time = lambda: now[0]
        else:
            Mine.time = lambda self: now[0]

    async def main() -> list[float]:
        if place != "subclass":
            # Looked at before, the loop's class has ferrio's own clock.
            await SLEEPS[name](0)
            replace()
        fired = loop.create_future()
        handle = loop.call_later(1000, fired.set_result, None)
        now[0] = 2000.0
        for _ in range(1000):
            await SLEEPS[name](0)
            if fired.done():
                break
        assert fired.done()
        return [handle.when(), loop.time()]

    if place == "subclass":
        replace()
    assert run(loop, main()) == [1000.0, 2000.0]


def test_what_a_program_s_clock_raises_ends_the_run(name: str) -> None:
    class Broken(CLASSES[name]):  # type: ignore[misc]
        broken = False

        def time(self) -> float:
            if self.broken:
                self.broken = False
                raise LookupError("no clock")
            return super().time()  # type: ignore[no-any-return]

    loop = Broken()
    loop.call_later(0, print)
    loop.broken = True
    with pytest.raises(LookupError, match="no clock"):
        loop.run_forever()
    loop.close()


def test_what_a_program_s_clock_schedules_is_not_slept_over() -> None:
    """asyncio's loop waits for the timer first."""
    order: list[str] = []

    class Busy(ferrio.Loop):
        asked = False

        def time(self) -> float:
            if self.is_running() and not self.asked:
                self.asked = True
                self.call_soon(order.append, "soon")
                self.call_soon(self.stop)
            return super().time()

    loop = Busy()
    loop.call_later(2, order.append, "late")
    loop.run_forever()
    loop.close()
    assert order == ["soon"]


@pytest.mark.parametrize("looked_at", [False, True])
@pytest.mark.parametrize("place", ["instance", "class"])
def test_call_soon_may_be_replaced_at_any_time(name: str, place: str, looked_at: bool) -> None:
    called: list[Any] = []

    class Mine(CLASSES[name]):  # type: ignore[misc]
        pass

    def call_soon(self: Any, callback: Any, *args: Any, **keywords: Any) -> Any:
        called.append(callback)
        return super(Mine, self).call_soon(callback, *args, **keywords)

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(called.append)
        future.set_result(None)
        await SLEEPS[name](0)

    loop = Mine()
    if looked_at:
        loop.run_until_complete(main())
        called.clear()
    if place == "instance":
        loop.call_soon = call_soon.__get__(loop)
    else:
        Mine.call_soon = call_soon
    loop.run_until_complete(main())
    # Two steps of the task, the future's callback and the run's, and the call of the future's callback itself.
    assert len(called) == 5
    called.clear()
    if place == "instance":
        del loop.call_soon
    else:
        del Mine.call_soon
    run(loop, main())
    assert len(called) == 1


def test_a_task_that_waits_for_its_turn_gets_it_when_call_soon_is_replaced(name: str) -> None:
    loop = CLASSES[name]()
    ran: list[str] = []

    async def other() -> None:
        ran.append("other")
        await SLEEPS[name](0)
        ran.append("again")

    async def main() -> None:
        task = loop.create_task(other())
        original = loop.call_soon
        loop.call_soon = lambda *args, **keywords: original(*args, **keywords)
        await task

    run(loop, main())
    assert ran == ["other", "again"]
