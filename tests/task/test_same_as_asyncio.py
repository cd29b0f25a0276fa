"""The same calls on asyncio's Future and Task and on ferrio's: results, exceptions and messages must be the same.

What a method's wrong number of arguments is called differs: there only the type is compared.
"""

import asyncio
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace, TracebackType
from typing import Any

import ferrio
import pytest

from tests.event_loop.differential import words

THEIRS = SimpleNamespace(Future=asyncio.Future, Task=asyncio.Task)
OURS = SimpleNamespace(Future=ferrio.Future, Task=ferrio.Task)

Call = tuple[str, Callable[[], Any]]

# What dir() gives is public or asyncio's own, but for these.
SPECIAL = ("__repr__", "__await__", "__iter__", "__del__", "__init__")
# Each a value, an exception class, an exception, or something that is neither.
ARGUMENTS = [
    (),
    (1,),
    (len,),
    (None,),
    (int,),
    (ValueError,),
    (ValueError("given"),),
    (StopIteration,),
    (StopIteration(4),),
    (type("Stop", (StopIteration,), {})(5),),
    (KeyboardInterrupt(),),
    (1, 2),
    (1, 2, 3),
]
KEYWORDS = [{"x": 1}, {"msg": "m"}, {"context": None}, {"limit": 1}, {"name": 1}, {"loop": 1}]


def _traceback() -> TracebackType | None:
    try:
        raise KeyError
    except KeyError as error:
        return error.__traceback__


TRACEBACK = _traceback()
STATES = [
    "pending",
    "result",
    "exception",
    "cancelled",
    "cancelled without a message",
    "waited for",
]


def names(cls) -> list[str]:
    base = asyncio.Task if issubclass(cls, asyncio.Task) else asyncio.Future
    names = [name for name in dir(base) if not name.startswith("__") or name in SPECIAL]
    # Asyncio's own crash before `__init__`: on these always, on `cancelled` while they are.
    return [name for name in names if name not in ("get_context", "get_coro")]


def use(instance, name, args=(), keywords=()):
    value = getattr(instance, name)
    return value(*args, **dict(keywords)) if callable(value) else value


def uninitialised(kind, loop) -> Iterator[Call]:
    """Everything before `__init__`."""
    for cls in (kind.Future, kind.Task):

        def new(cls=cls):
            return cls.__new__(cls)

        for name in names(cls):
            for args in ARGUMENTS:
                yield f"{cls.__name__}.{name}{args}", lambda n=name, a=args: use(new(), n, a)
            # Some versions take any keyword there.
            if name not in ("exception", "get_loop"):
                for keywords in KEYWORDS:
                    call = f"{cls.__name__}.{name}(**{keywords})"
                    yield call, lambda n=name, k=keywords: use(new(), n, (), k)
            if name.startswith("_") and name not in SPECIAL:
                yield f"del {cls.__name__}.{name}", lambda n=name: delattr(new(), n)
                for value in (None, False, True, "x"):
                    # Asyncio's finalizer crashes.
                    if name != "_log_destroy_pending" or not value:
                        assignment = f"{cls.__name__}.{name} = {value}"
                        yield assignment, lambda n=name, v=value: setattr(new(), n, v)


async def noop() -> None:
    pass


def made(kind, loop) -> Iterator[Call]:
    """What `__init__` makes of good and bad arguments."""
    for cls in (kind.Future, kind.Task):
        for args in ((), (1,), (noop,), (1, 2)):
            for keywords in (
                {},
                {"coro": 1},
                {"loop": 5},
                {"bad": 1},
                {"name": 1},
                {"eager_start": 1},
            ):
                for more in ({}, {"loop": loop}):
                    given = {**keywords, **more}
                    call = f"{cls.__name__}(*{args}, **{given})"
                    yield call, lambda c=cls, a=args, g=given: c(*a, **g)


def future(kind, loop, state):
    """A future in one of STATES."""
    future = kind.Future(loop=loop)
    if state == "result":
        future.set_result(7)
    elif state == "exception":
        future.set_exception(ValueError("set"))
        future._log_traceback = False
    elif state == "cancelled":
        future.cancel("message")
    elif state == "cancelled without a message":
        future.cancel()
    elif state == "waited for":
        for callback in (len, print, len):
            future.add_done_callback(callback)
    return future


def used(kind, loop) -> Iterator[Call]:
    """Every method and attribute in every state, and the state after."""

    def call(state, name, args):
        instance = future(kind, loop, state)
        result = use(instance, name, args)
        if inspect.isawaitable(result) or name in ("__iter__", "__await__"):
            result = None
        callbacks = instance._callbacks and [callback for callback, _ in instance._callbacks]
        after = repr(instance), instance._log_traceback, instance._exception, callbacks
        if instance._log_traceback:
            instance._log_traceback = False
        return result, after

    for state in STATES:
        for name in names(kind.Future):
            for args in ARGUMENTS if name != "__init__" else [()]:
                yield f"{state}: {name}{args}", lambda s=state, n=name, a=args: call(s, n, a)


def awaited(kind, loop) -> Iterator[Call]:
    """The iterator of a future in every state."""

    def steps(step, state, count):
        iterator = future(kind, loop, state).__await__()
        heard = []
        for _ in range(count):
            try:
                heard.append(words(step(iterator)))
            except BaseException as error:
                heard.append(f"{words(error)} {error.args}")
        return heard

    for state in STATES:
        yield f"{state}: next", lambda s=state: steps(next, s, 3)
        # Sent to after its end, asyncio's raises SystemError up to 3.13.
        count = 2 if state in ("pending", "waited for") else 1
        yield f"{state}: send", lambda s=state, c=count: steps(lambda it: it.send(5), s, c)
        yield f"{state}: close", lambda s=state: steps(lambda it: it.close(), s, 1)
        for args in (
            (),
            (5,),
            (ValueError,),
            (ValueError(2),),
            (ValueError, 5),
            (ValueError, (5, 6)),
            (ValueError, KeyError(3)),
            (ValueError, ValueError(3)),
            (ValueError(1), 2),
            (ValueError, None, None),
            (ValueError, None, 5),
            (ValueError(1), None, None),
            (ValueError(1), None, TRACEBACK),
            (1, 2, 3, 4),
        ):
            throw = f"{state}: throw{args}"
            yield throw, lambda s=state, a=args: steps(lambda it, a=a: it.throw(*a), s, 1)


def chained(kind, loop) -> Iterator[Call]:
    """What an exception's context and cause are when a result raises it."""

    def while_handling(state, times):
        instance = future(kind, loop, state)
        heard = []
        for number in range(times):
            try:
                raise KeyError(number)
            except KeyError:
                try:
                    instance.result()
                except BaseException as error:
                    heard.append((words(error), repr(error.__context__), error.__cause__))
        return heard

    for state in STATES:
        yield f"{state}: result", lambda s=state: while_handling(s, 3)


def plain(outcome: str) -> str:
    # Asyncio's tasks have attributes of their own where ferrio's inherit a future's.
    outcome = re.sub(r"of '\w+' objects is not writable", "is not writable", outcome)
    if re.search(r"\btakes\b|\bargument\b|\barguments\b|\bkeyword\b", outcome):
        return outcome.partition(":")[0]
    return outcome


def outcome(call: Callable[[], Any]) -> str:
    try:
        return plain(words(call()))
    except BaseException as error:
        return plain(words(error))


@pytest.mark.parametrize("calls", [uninitialised, made, used, awaited, chained])
def test_the_same_calls_have_the_same_outcome(calls, loop):
    loop.set_exception_handler(lambda *_: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {name: outcome(call) for name, call in calls(THEIRS, loop)}
        ours = {name: outcome(call) for name, call in calls(OURS, loop)}
    differences = {
        name: (theirs[name], ours[name]) for name in theirs if theirs[name] != ours[name]
    }
    assert differences == {}
    assert theirs.keys() == ours.keys()
    assert len(theirs) >= len(STATES)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no deprecation before")
def test_throw_with_three_arguments_is_deprecated(loop):
    iterator = future(OURS, loop, "pending").__await__()
    with (
        pytest.warns(DeprecationWarning, match="signature of throw"),
        pytest.raises(ValueError, match=r"^3$"),
    ):
        iterator.throw(ValueError, 3)
