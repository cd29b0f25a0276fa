"""A primitive belongs to the loop on which somebody first waited at it."""

import asyncio

import ferrio
import pytest

WAITS = {
    "Lock": lambda lock: lock.acquire(),
    "Event": lambda event: event.wait(),
    "Semaphore": lambda semaphore: semaphore.acquire(),
    "Queue": lambda queue: queue.get(),
}


def make_busy(name):
    """A primitive at which one must wait."""
    subject = getattr(ferrio, name)(*([0] if name == "Semaphore" else []))
    if name == "Lock":
        with pytest.raises(StopIteration):
            subject.acquire().send(None)
    return subject


@pytest.mark.parametrize("other", [asyncio.new_event_loop, ferrio.new_event_loop])
@pytest.mark.parametrize("name", WAITS)
def test_another_loop_is_refused(name, other, loop):
    subject = make_busy(name)

    async def main():
        task = asyncio.get_running_loop().create_task(WAITS[name](subject))
        await asyncio.sleep(0)
        task.cancel()

    assert subject._loop is None
    loop.run_until_complete(main())
    assert subject._loop is loop
    second = other()
    with pytest.raises(RuntimeError, match=f"<.*{name}.*> is bound to a different event loop"):
        second.run_until_complete(WAITS[name](subject))
    second.close()


@pytest.mark.parametrize("name", WAITS)
def test_what_need_not_wait_needs_no_loop(name):
    subject = make_busy(name)
    {
        "Lock": lambda: subject.release(),
        "Event": lambda: subject.set(),
        "Semaphore": lambda: subject.release(),
        "Queue": lambda: subject.put_nowait(1),
    }[name]()
    with pytest.raises(StopIteration):
        WAITS[name](subject).send(None)
    assert subject._loop is None


@pytest.mark.parametrize("name", WAITS)
def test_without_a_running_loop_one_cannot_wait(name):
    subject = make_busy(name)
    with pytest.raises(AttributeError, match="create_future"):
        WAITS[name](subject).send(None)
    assert subject._loop is None


def test_a_condition_of_a_lock_of_asyncio(loop):
    async def main():
        lock = asyncio.Lock()
        condition = ferrio.Condition(lock)
        assert condition._lock is lock
        async with condition:
            assert lock.locked()
            waiter = asyncio.ensure_future(wait(condition))
        await asyncio.sleep(0)
        async with lock:
            condition.notify()
        assert await waiter is True

    async def wait(condition):
        async with condition:
            return await condition.wait()

    loop.run_until_complete(main())


def test_a_loop_whose_create_future_is_overridden():
    made = []

    class Loop(ferrio.Loop):
        def create_future(self):
            future = super().create_future()
            made.append(future)
            return future

    async def main():
        event = ferrio.Event()
        waiter = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        assert event._waiters[0] in made
        event.set()
        await waiter

    loop = Loop()
    loop.run_until_complete(main())
    loop.close()
