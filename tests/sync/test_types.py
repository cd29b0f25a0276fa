"""What the primitives look like: signatures, attributes, weak references, generics, messages."""

import asyncio
import copy
import inspect
import math
import re
import types
import weakref

import ferrio
import pytest

NAMES = [
    "Lock",
    "Event",
    "Condition",
    "Semaphore",
    "BoundedSemaphore",
    "Barrier",
    "Queue",
    "LifoQueue",
    "PriorityQueue",
]


def make(module, name):
    cls = getattr(module, name)
    return cls(2) if name == "Barrier" else cls()


def public(cls):
    names = [name for name in dir(cls) if not name.startswith("_")]
    return names + [name for name in ("__aenter__", "__aexit__") if hasattr(cls, name)]


@pytest.mark.parametrize("name", NAMES)
def test_they_have_what_asyncio_has(name):
    ours, theirs = make(ferrio, name), make(asyncio, name)
    ours_only = {"shutdown"} if not hasattr(asyncio.Queue, "shutdown") else set()
    assert set(public(ours)) - ours_only == set(public(theirs))
    assert inspect.signature(type(ours)) == inspect.signature(type(theirs))
    for attribute in public(theirs):
        ours_is, theirs_is = getattr(ours, attribute), getattr(theirs, attribute)
        assert callable(ours_is) == callable(theirs_is), attribute
        if callable(theirs_is):
            assert inspect.signature(ours_is) == inspect.signature(theirs_is), attribute
            is_coroutine_function = asyncio.iscoroutinefunction(theirs_is)
            assert asyncio.iscoroutinefunction(ours_is) == is_coroutine_function, attribute
            assert ours_is.__doc__ is not None, attribute


@pytest.mark.parametrize("name", NAMES)
def test_the_bases_are_those_of_asyncio(name):
    ours, theirs = getattr(ferrio, name), getattr(asyncio, name)
    for other in NAMES:
        expected = issubclass(theirs, getattr(asyncio, other))
        assert issubclass(ours, getattr(ferrio, other)) == expected
    assert (ours.__module__, ours.__qualname__) == ("ferrio", name)


@pytest.mark.parametrize("name", NAMES)
def test_they_take_attributes_and_weak_references(name):
    subject = make(ferrio, name)
    subject.attribute = 1
    assert subject.__dict__ == {"attribute": 1}
    reference = weakref.ref(subject)
    assert reference() is subject
    del subject
    assert reference() is None


@pytest.mark.parametrize("name", NAMES)
def test_a_subclass_in_python(name):
    class Derived(getattr(ferrio, name)):
        def __init__(self, *args, extra):
            super().__init__(*args)
            self.extra = extra

    subject = Derived(*([2] if name == "Barrier" else []), extra="extra")
    assert subject.extra == "extra"
    assert "Derived" in repr(subject)
    reference = weakref.ref(subject)
    del subject
    assert reference() is None


@pytest.mark.parametrize("name", NAMES)
def test_repr_is_that_of_asyncio(name):
    ours, theirs = repr(make(ferrio, name)), repr(make(asyncio, name))
    assert re.sub("0x[0-9a-f]+", "", ours).replace("ferrio", "asyncio") == re.sub(
        "0x[0-9a-f]+|locks[.]", "", theirs
    )


@pytest.mark.parametrize("name", NAMES)
def test_wrong_arguments(name):
    cls = getattr(ferrio, name)
    with pytest.raises(TypeError, match=rf"{name if 'Queue' not in name else 'Queue'}\.__init__"):
        cls(loop=None)
    with pytest.raises(TypeError):
        cls(1, 2)


def test_generics():
    for name in ("Queue", "LifoQueue", "PriorityQueue"):
        alias = getattr(ferrio, name)[int]
        assert isinstance(alias, types.GenericAlias)
        assert alias.__args__ == (int,)
        assert isinstance(alias(maxsize=3), getattr(ferrio, name))

    class Derived(ferrio.Queue):
        pass

    assert Derived[str].__origin__ is Derived


def test_initial_values():
    for value in (-1, -0.5):
        with pytest.raises(ValueError, match="Semaphore initial value must be >= 0"):
            ferrio.Semaphore(value)
        with pytest.raises(ValueError, match="Semaphore initial value must be >= 0"):
            ferrio.BoundedSemaphore(value)
    with pytest.raises(TypeError):
        ferrio.Semaphore("1")
    with pytest.raises(TypeError):
        ferrio.Barrier("1")
    with pytest.raises(TypeError):
        ferrio.Queue("1")
    for parties in (0, -1):
        with pytest.raises(ValueError, match="parties must be") as theirs:
            asyncio.Barrier(parties)
        with pytest.raises(ValueError, match=str(theirs.value)):
            ferrio.Barrier(parties)


@pytest.mark.parametrize("maxsize", [0, -1, 3, 1.3, 2.0, math.inf, -math.inf, 1 << 100, True])
def test_any_number_is_a_size(maxsize):
    queue, expected = ferrio.Queue(maxsize), asyncio.Queue(maxsize)
    assert queue.maxsize is maxsize
    for item in range(5):
        assert queue.full() == expected.full()
        if queue.full():
            with pytest.raises(asyncio.QueueFull):
                queue.put_nowait(item)
            break
        queue.put_nowait(item)
        expected.put_nowait(item)


def test_a_semaphore_without_end(loop):
    async def main():
        semaphore = ferrio.Semaphore(math.inf)
        for _ in range(100):
            await semaphore.acquire()
        assert semaphore._value == math.inf
        assert repr(semaphore).endswith("[unlocked, value:inf]>")

    loop.run_until_complete(main())


def test_the_exceptions_are_those_of_asyncio():
    queue = ferrio.Queue()
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    queue.shutdown()
    with pytest.raises(ferrio.QueueShutDown):
        queue.put_nowait(1)
    if hasattr(asyncio, "QueueShutDown"):
        assert ferrio.QueueShutDown is asyncio.QueueShutDown
    assert ferrio.QueueShutDown.__bases__ == (Exception,)


def test_coroutines_that_are_never_awaited_warn():
    queue = ferrio.Queue()
    with pytest.warns(RuntimeWarning, match="coroutine 'Queue.get' was never awaited"):
        queue.get()


@pytest.mark.parametrize("name", NAMES)
def test_they_cannot_be_awaited(name, loop):
    async def main():
        await make(ferrio, name)

    with pytest.raises(TypeError, match=f"'?{name}'? "):
        loop.run_until_complete(main())


@pytest.mark.parametrize("name", NAMES)
def test_they_cannot_be_copied(name):
    # Two copies would wake one another's waiters.
    with pytest.raises(TypeError):
        copy.copy(make(ferrio, name))


def test_what_a_subclass_overrides_is_called():
    def run(module, make_loop):
        seen = []

        class Semaphore(module.Semaphore):
            def locked(self):
                seen.append("locked")
                return shut or super().locked()

        class Condition(module.Condition):
            def notify(self, n=1):
                seen.append(("notify", n))
                super().notify(n)

            async def acquire(self):
                seen.append("acquire")
                return await super().acquire()

        async def main():
            nonlocal shut
            semaphore = Semaphore(5)
            waiting = asyncio.ensure_future(semaphore.acquire())
            await asyncio.sleep(0)
            seen.append(waiting.done())
            waiting.cancel()
            shut = False
            async with semaphore:
                pass
            condition = Condition()
            # A condition's own methods are its lock's.
            async with condition:
                condition.notify_all()

        shut = True
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main())
        return seen

    expected = run(asyncio, asyncio.SelectorEventLoop)
    assert run(ferrio, ferrio.new_event_loop) == expected
    assert ("notify", 0) in expected
