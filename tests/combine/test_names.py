"""The names and signatures of the combinators are asyncio's."""

import asyncio
import inspect
import sys

import ferrio
import pytest

NAMES = [
    "TaskGroup",
    "Timeout",
    "all_tasks",
    "as_completed",
    "create_task",
    "current_task",
    "ensure_future",
    "gather",
    "iscoroutine",
    "iscoroutinefunction",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
    "wrap_future",
]
if sys.version_info >= (3, 12):
    NAMES += ["create_eager_task_factory", "eager_task_factory"]


def parameters(function: object) -> list[tuple[object, ...]]:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    # The instance can be given by no name where a method is native.
    given = [p for p in signature.parameters.values() if p.name != "self"]
    return [(p.name, p.kind, p.default) for p in given]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_asyncio_s_signature(name: str) -> None:
    ours, theirs = getattr(ferrio, name), getattr(asyncio, name)
    assert name in ferrio.__all__
    assert parameters(ours) == parameters(theirs)
    assert ours.__name__ == theirs.__name__
    assert bool(ours.__doc__) >= bool(theirs.__doc__)
    assert asyncio.iscoroutinefunction(ours) == asyncio.iscoroutinefunction(theirs)


@pytest.mark.parametrize("name", ["TaskGroup", "Timeout"])
def test_a_class_has_asyncio_s_methods(name: str) -> None:
    ours, theirs = getattr(ferrio, name), getattr(asyncio, name)
    names = [method for method in vars(theirs) if callable(getattr(theirs, method))]
    for method in names:
        if method.startswith("_") and not method.startswith("__a"):
            continue
        assert parameters(getattr(ours, method)) == parameters(getattr(theirs, method)), method
        is_coroutine_function = asyncio.iscoroutinefunction(getattr(theirs, method))
        assert asyncio.iscoroutinefunction(getattr(ours, method)) == is_coroutine_function


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (ferrio.sleep, ()),
        (ferrio.gather, {"return_exception": True}),
        (ferrio.wait_for, (1,)),
        (ferrio.wait, (1, 2)),
        (ferrio.shield, ()),
        (ferrio.timeout, ()),
        (ferrio.TaskGroup, (1,)),
        (ferrio.create_task, ()),
    ],
)
def test_wrong_arguments(call: object, arguments: object) -> None:
    args, keywords = ((), arguments) if isinstance(arguments, dict) else (arguments, {})
    with pytest.raises(TypeError, match=call.__name__):  # type: ignore[attr-defined]
        call(*args, **keywords)  # type: ignore[operator]


def test_classes_are_sealed_as_asyncio_s_are() -> None:
    class Group(ferrio.TaskGroup):
        pass

    group = Group()
    group.attribute = 1  # type: ignore[attr-defined]
    assert repr(group) == "<TaskGroup>"
