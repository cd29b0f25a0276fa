"""Code that runs in the middle of an operation and acts on the same primitive."""

import asyncio

import ferrio
import pytest

RUN = {ferrio: ferrio.run, asyncio: asyncio.run}


class Reacting:
    """Compares as its number, and does something whenever it is compared."""

    def __init__(self, number, react):
        self.number = number
        self.react = react

    def __lt__(self, other):
        self.react()
        return self.number < other.number


def run(module, scenario):
    """What happens, with the primitives of `module`."""
    record = []
    try:
        RUN[module](scenario(module, record.append))
    except Exception as error:
        record.append((type(error), str(error)))
    return record


def same(scenario):
    """The scenario does with ferrio what it does with asyncio; returns that."""
    found = run(ferrio, scenario)
    assert found == run(asyncio, scenario)
    return found


def test_a_comparison_that_puts_into_its_queue():
    async def scenario(module, note):
        queue = module.PriorityQueue()

        def react():
            if queue.qsize() < 5:
                queue.put_nowait(Reacting(0, lambda: None))

        queue.put_nowait(Reacting(2, react))
        queue.put_nowait(Reacting(1, react))
        note(queue.qsize())
        while not queue.empty():
            note(queue.get_nowait().number)

    assert same(scenario)


def test_a_comparison_that_gets_from_its_queue():
    async def scenario(module, note):
        queue = module.PriorityQueue()
        for number in (3, 2, 1):
            queue.put_nowait(Reacting(number, lambda: None))
        queue.put_nowait(Reacting(0, queue.get_nowait))

    ((kind, _),) = same(scenario)
    assert kind is RuntimeError


def test_a_comparison_that_raises():
    async def scenario(module, note):
        queue = module.PriorityQueue(maxsize=3)
        queue.put_nowait(1)
        for item in ("text", 2, None, 3):
            try:
                queue.put_nowait(item)
            except (TypeError, asyncio.QueueFull) as error:
                note(repr(error))
            note(queue.qsize())
        note(queue._unfinished_tasks)

    assert same(scenario)


def test_a_comparison_that_shuts_its_queue_down():
    async def scenario(module, note):
        queue = module.PriorityQueue()
        queue.put_nowait(Reacting(1, lambda: None))
        queue.put_nowait(Reacting(0, lambda: queue.shutdown(immediate=True)))
        note(queue.qsize())

    if hasattr(asyncio.Queue, "shutdown"):
        assert same(scenario)


def test_a_finalizer_that_uses_the_queue_that_drops_it():
    class Last:
        def __init__(self, queue):
            self.queue = queue

        def __del__(self):
            seen.append(self.queue.qsize())
            self.queue.put_nowait("from the finalizer")

    seen = []
    for cls in (ferrio.Queue, ferrio.LifoQueue):
        queue = cls()
        queue.put_nowait(Last(queue))
        queue.__init__()
        assert seen.pop() == 0
        assert queue.get_nowait() == "from the finalizer"
        queue.put_nowait(Last(queue))
        queue._queue = cls()._queue
        assert seen.pop() == 0
        assert queue.get_nowait() == "from the finalizer"


def test_waiters_in_python_that_act_when_they_are_woken():
    class Waiter:
        def __init__(self, react):
            self.react = react
            self.is_done = False

        def done(self):
            return self.is_done

        def cancelled(self):
            return False

        def set_result(self, result):
            self.is_done = True
            self.react()

    async def scenario(module, note):
        event = module.Event()
        event._waiters.append(Waiter(event.clear))
        event._waiters.append(Waiter(lambda: note("woken")))
        event.set()
        note(event.is_set())

        queue = module.Queue()
        queue._getters.append(Waiter(lambda: note(queue.get_nowait())))
        queue._getters.append(Waiter(lambda: note("woken too early")))
        queue.put_nowait("item")
        note(len(queue._getters))

        semaphore = module.Semaphore(0)
        note(semaphore._waiters is None or len(semaphore._waiters))
        semaphore.release()
        note(semaphore._value)

    found = same_but_containers(scenario)
    assert "woken too early" not in found


def same_but_containers(scenario):
    # asyncio makes the container of a semaphore's waiters late.
    found = [entry for entry in run(ferrio, scenario) if entry not in (True, 0)]
    assert found == [entry for entry in run(asyncio, scenario) if entry not in (True, 0)]
    return found


def test_an_item_whose_put_is_cancelled_from_its_own_callback():
    async def scenario(module, note):
        loop = asyncio.get_running_loop()
        queue = module.Queue(1)
        queue.put_nowait(1)
        putters = [loop.create_task(queue.put(number)) for number in (2, 3)]
        await asyncio.sleep(0)
        # Woken and cancelled in the same turn: the next one takes the place.
        note(queue.get_nowait())
        putters[0].cancel()
        note(await asyncio.gather(*putters, return_exceptions=True) == [None, None])
        note(queue.get_nowait())

    assert same(scenario)[-1] == 3


@pytest.mark.parametrize("method", ["throw", "close"])
def test_a_coroutine_that_ends_while_it_waits(method):
    async def scenario(module, note):
        for subject, coroutine in [
            (queue := module.Queue(), queue.get()),
            (event := module.Event(), event.wait()),
            (semaphore := module.Semaphore(0), semaphore.acquire()),
        ]:
            coroutine.send(None)
            try:
                coroutine.close() if method == "close" else coroutine.throw(KeyError("thrown"))
            except KeyError as error:
                note(repr(error))
            note(repr(subject).rpartition("x")[2][12:])
            note([len(getattr(subject, name, ())) for name in ("_waiters", "_getters")])

    assert same(scenario)


def test_a_predicate_that_changes_its_condition():
    async def scenario(module, note):
        condition = module.Condition()
        values = iter([0, "", "done"])

        def predicate():
            condition.notify_all()
            return next(values)

        async def wait():
            async with condition:
                note(await condition.wait_for(predicate))

        async def wake():
            while True:
                async with condition:
                    condition.notify_all()
                await asyncio.sleep(0)

        waker = asyncio.ensure_future(wake())
        await wait()
        waker.cancel()

    assert same(scenario) == ["done"]


def test_a_predicate_that_raises():
    async def scenario(module, note):
        condition = module.Condition()
        async with condition:
            try:
                await condition.wait_for(lambda: 1 / 0)
            except ZeroDivisionError as error:
                note(repr(error))
            note(condition.locked())

    assert same(scenario)
