"""What futures and tasks are to Python: their classes, subclasses of them, their attributes."""

import asyncio
import gc
import inspect
import sys
import weakref

import ferrio
import pytest


async def noop() -> None:
    pass


def new(cls, loop):
    """An instance of a class of futures or tasks; a task is done, so that nothing is pending."""
    if not issubclass(cls, asyncio.Task):
        return cls(loop=loop)
    task = cls(noop(), loop=loop)
    loop.run_until_complete(task)
    return task


class Mixin:
    pass


class FutureSubclass(ferrio.Future):
    pass


class TaskSubclass(ferrio.Task):
    pass


class MixedTask(Mixin, ferrio.Task):
    pass


class SlottedTask(ferrio.Task):
    __slots__ = ("extra", "more")


CLASSES = [ferrio.Future, FutureSubclass, ferrio.Task, TaskSubclass, MixedTask, SlottedTask]


def test_ferrio_s_classes_are_asyncio_s():
    assert issubclass(ferrio.Future, asyncio.Future)
    assert issubclass(ferrio.Task, asyncio.Task)
    assert not issubclass(ferrio.Future, asyncio.Task)


def test_a_task_is_a_future_among_ferrio_s_own():
    assert issubclass(ferrio.Task, ferrio.Future)
    assert ferrio.Task in ferrio.Future.__subclasses__()
    assert ferrio.Task.__mro__ == (
        ferrio.Task,
        ferrio.Future,
        asyncio.Task,
        asyncio.Future,
        object,
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_instances_are_asyncio_s(cls, loop):
    instance = new(cls, loop)
    assert type(instance) is cls
    assert isinstance(instance, asyncio.Future)
    assert isinstance(instance, ferrio.Future)
    assert isinstance(instance, asyncio.Task) == issubclass(cls, ferrio.Task)
    assert asyncio.isfuture(instance)
    assert inspect.isawaitable(instance)


def test_what_ferrio_s_loop_makes_is_ferrio_s():
    loop = ferrio.new_event_loop()
    assert type(loop.create_future()) is ferrio.Future
    task = loop.create_task(noop())
    assert type(task) is ferrio.Task
    loop.run_until_complete(task)
    loop.close()


def test_the_classes_say_where_they_come_from():
    assert repr(ferrio.Future) == "<class 'ferrio.Future'>"
    assert repr(ferrio.Task) == "<class 'ferrio.Task'>"


@pytest.mark.parametrize("cls", [ferrio.Future, ferrio.Task])
def test_the_classes_are_as_immutable_as_asyncio_s(cls):
    with pytest.raises(TypeError, match="immutable"):
        cls.attribute = 1


@pytest.mark.parametrize("cls", [ferrio.Future, ferrio.Task])
def test_the_classes_are_generic(cls):
    alias = cls[int]
    assert alias.__origin__ is cls
    assert alias.__args__ == (int,)


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_no_method_but_the_call_graph_s_is_left_to_asyncio(name):
    """The base's part of an instance is empty: its methods would take it for not initialised."""
    cls = getattr(ferrio, name)
    theirs = [
        attribute
        for attribute in dir(getattr(asyncio, name))
        for owner in [next(c for c in cls.__mro__ if attribute in c.__dict__)]
        if owner in (asyncio.Future, asyncio.Task) and attribute not in ("__module__", "__doc__")
    ]
    assert theirs == (["_asyncio_awaited_by"] if sys.version_info >= (3, 14) else [])


@pytest.mark.parametrize("cls", CLASSES)
def test_every_reference_is_reported_to_the_garbage_collector_once(cls, loop):
    instance = new(cls, loop)
    instance.attribute = mark = object()
    referents = gc.get_referents(instance)
    assert sum(referent is cls for referent in referents) == 1
    assert sum(referent is loop for referent in referents) == 1
    # Up to 3.12 the attributes are in a dictionary from the start.
    held = [r for r in referents if r is mark or (isinstance(r, dict) and mark in r.values())]
    assert len(held) == 1


@pytest.mark.parametrize("cls", CLASSES)
def test_weak_references(cls, loop):
    instance = new(cls, loop)
    called = []
    reference = weakref.ref(instance, called.append)
    assert reference() is instance
    del instance
    gc.collect()
    assert reference() is None
    assert called == [reference]


@pytest.mark.parametrize("cls", CLASSES)
def test_attributes_are_gone_with_the_instance(cls, loop):
    """Also when the next instance takes over the memory of the last."""
    for _ in range(3):
        instance = new(cls, loop)
        assert not hasattr(instance, "attribute")
        instance.attribute = Mixin()
        reference = weakref.ref(instance.attribute)
        assert weakref.ref(instance)() is instance
        del instance
        assert reference() is None


def test_a_subclass_may_override_everything(loop):
    class Loud(ferrio.Future):
        def __init__(self, *, loop):
            self.said = ["init"]
            super().__init__(loop=loop)

        def set_result(self, result):
            self.said.append("set_result")
            super().set_result(result)

        def result(self):
            self.said.append("result")
            return super().result()

        def add_done_callback(self, fn, *, context=None):
            self.said.append("add_done_callback")
            super().add_done_callback(fn, context=context)

    async def main():
        future = Loud(loop=loop)
        task = ferrio.Task(waits(future), loop=loop)
        await asyncio.sleep(0)
        future.set_result(3)
        assert await task == 3
        return future.said

    async def waits(future):
        return await future

    # A task adds its callback and asks for the result through the methods; `await` itself takes
    # the result as it is.
    assert loop.run_until_complete(main()) == ["init", "add_done_callback", "set_result", "result"]


def test_future_s_methods_work_on_tasks(loop):
    async def main():
        task = ferrio.Task(asyncio.sleep(3600), loop=loop)
        assert ferrio.Future.get_loop(task) is loop
        ferrio.Future.set_result(task, "early")
        assert task.result() == "early"
        # Its step finds that the task is done.
        loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.get_coro().close()

    reported = []
    loop.run_until_complete(main())
    assert [type(error) for error in reported] == [asyncio.InvalidStateError]


def test_new_of_the_wrong_class_is_refused():
    with pytest.raises(TypeError):
        ferrio.Future.__new__(ferrio.Task)
    with pytest.raises(TypeError):
        ferrio.Task.__new__(ferrio.Future)


def test_no_class_has_two_layouts():
    with pytest.raises(TypeError, match="conflict"):
        type("Both", (ferrio.Future, asyncio.Task), {})


def test_names_are_unique(loop):
    tasks = [new(ferrio.Task, loop) for _ in range(100)]
    assert len({task.get_name() for task in tasks}) == 100
    assert all(task.get_name().startswith("Task-") for task in tasks)
