"""`call_later` and `call_at`."""

import asyncio
import math
import random
from typing import Any

import pytest

Loop = asyncio.AbstractEventLoop


def run_until_done(loop: Loop, *timers: Any) -> None:
    """Run until after the timers, all of which lie before the end of this call's own."""
    done = loop.create_future()
    loop.call_at(max(timer.when() for timer in timers) + 1e-6, done.set_result, None)
    loop.run_until_complete(done)


def test_timers_run_by_their_deadlines(loop: Loop) -> None:
    order: list[int] = []
    now = loop.time()
    numbers = list(range(200))
    random.Random(1).shuffle(numbers)
    run_until_done(loop, *(loop.call_at(now + n / 1e4, order.append, n) for n in numbers))
    assert order == list(range(200))


def test_timers_that_are_due_together_run_by_their_deadlines_too(loop: Loop) -> None:
    order: list[int] = []
    now = loop.time()
    numbers = list(range(200))
    random.Random(2).shuffle(numbers)
    # All in the past: one turn finds them due.
    run_until_done(loop, *(loop.call_at(now - 1 + n / 1e6, order.append, n) for n in numbers))
    assert order == list(range(200))


def test_timers_of_one_deadline_run_in_the_order_of_their_calls() -> None:
    import ferrio

    # asyncio's heap promises no order here.
    loop = ferrio.new_event_loop()
    order: list[int] = []
    when = loop.time() + 0.001
    run_until_done(loop, *(loop.call_at(when, order.append, number) for number in range(100)))
    assert order == list(range(100))
    loop.close()


@pytest.mark.parametrize("delay", [0, -1, -1e300, -math.inf, 0.0, False, 1e-300])
def test_a_delay_of_nothing_or_less_is_due_in_the_next_turn(loop: Loop, delay: float) -> None:
    order: list[str] = []
    loop.call_later(delay, order.append, "timer")
    loop.call_later(0.0005, loop.stop)
    loop.run_forever()
    assert order == ["timer"]


def test_a_timer_never_runs_before_its_time(loop: Loop) -> None:
    early: list[float] = []

    def check(when: float) -> None:
        if loop.time() + 1e-6 < when:
            early.append(when)

    now = loop.time()
    timers = []
    for number in range(50):
        when = now + number / 5000
        timers.append(loop.call_at(when, check, when))
    run_until_done(loop, *timers)
    assert early == []


@pytest.mark.parametrize("delay", [math.inf, 1e300, 10**15, 3600 * 24 * 365])
def test_an_endless_delay_does_not_disturb_the_others(loop: Loop, delay: float) -> None:
    order: list[str] = []
    timer = loop.call_later(delay, order.append, "never")
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert order == []
    timer.cancel()


def test_when_is_the_time_of_the_call_and_the_delay(loop: Loop) -> None:
    before = loop.time()
    timer = loop.call_later(10, print)
    assert before + 10 <= timer.when() <= loop.time() + 10
    assert loop.call_at(12.5, print).when() == 12.5
    timer.cancel()


def test_a_cancelled_timer_does_not_run(loop: Loop) -> None:
    order: list[str] = []
    timers = [loop.call_later(n / 1e4, order.append, f"{n}") for n in range(20)]
    for timer in timers[::2]:
        timer.cancel()
        assert timer.cancelled()
    run_until_done(loop, *timers)
    assert order == [f"{n}" for n in range(1, 20, 2)]


def test_a_timer_that_is_due_can_still_be_cancelled(loop: Loop) -> None:
    order: list[str] = []
    now = loop.time()
    timers: list[asyncio.TimerHandle] = []
    loop.call_at(now - 2, lambda: timers[0].cancel())
    timers.append(loop.call_at(now - 1, order.append, "cancelled"))
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert order == []


def test_a_timer_can_be_cancelled_after_it_ran_and_after_the_close(loop: Loop) -> None:
    ran = loop.call_later(0, int)
    never = loop.call_later(100, int)
    run_until_done(loop, ran)
    ran.cancel()
    loop.close()
    never.cancel()
    assert never.cancelled()


def test_a_timer_runs_once(loop: Loop) -> None:
    order: list[int] = []
    timer = loop.call_later(0, order.append, 1)
    run_until_done(loop, timer)
    run_until_done(loop, timer)
    assert order == [1]


def test_timers_compare_by_their_time(loop: Loop) -> None:
    first, second = loop.call_at(1, print), loop.call_at(2, print)
    assert first < second
    assert first <= second
    assert second > first
    assert second >= first
    assert sorted([second, first]) == [first, second]
    assert hash(first) == hash(1.0)
    assert first != second
    assert first == first
    for timer in (first, second):
        timer.cancel()


def test_a_timer_may_schedule_the_next(loop: Loop) -> None:
    times: list[float] = []

    def again() -> None:
        times.append(loop.time())
        if len(times) < 5:
            loop.call_later(0, again)
        else:
            loop.stop()

    loop.call_later(0, again)
    loop.run_forever()
    assert times == sorted(times)
    assert len(times) == 5


def test_sleepers_wake_by_their_time(loop: Loop) -> None:
    order: list[float] = []

    async def sleeper(number: int) -> None:
        # By the clock: a busy machine may take its time between one sleeper and the next.
        due = loop.time() + number / 2e1
        await asyncio.sleep(number / 2e1)
        order.append(due)

    async def main() -> None:
        await asyncio.gather(*map(sleeper, [5, 3, 1, 4, 2]))

    loop.run_until_complete(main())
    assert order == sorted(order)
    assert len(order) == 5
