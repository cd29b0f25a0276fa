"""`import ferrio as asyncio` is complete: the names, what they are, and their signatures."""

import asyncio
import inspect
import re
import selectors
import sys
from typing import Any

import ferrio
import pytest

from ..children import run_code

# As they are before anything is patched.
NAMES = sorted({*asyncio.__all__, "TaskGroup"})
OURS = [name for name in NAMES if getattr(ferrio, name) is not getattr(asyncio, name)]


def test_every_name_of_asyncio_is_there() -> None:
    assert set(asyncio.__all__) <= set(ferrio.__all__)
    assert all(name in vars(ferrio) for name in asyncio.__all__)


def test_what_ferrio_has_beyond_asyncio_is_known() -> None:
    more = {"EventLoop", "Loop", "QueueShutDown", "TaskGroup", "__version__"}
    more |= {"patch", "patched", "unpatch"}
    if sys.version_info < (3, 16):
        more |= {"EventLoopPolicy", "install"}
    assert set(ferrio.__all__) - set(asyncio.__all__) == more - set(asyncio.__all__)


def is_abstract(value: Any) -> bool:
    """Whether it is a class without work of its own: a base for protocols, transports, loops, servers, policies."""
    words = ("Abstract", "Protocol", "Transport", "BaseEventLoop")
    return isinstance(value, type) and any(word in value.__name__ for word in words)


def is_plain(name: str) -> bool:
    """Whether it is a constant, an exception or an abstract class."""
    value = getattr(asyncio, name)
    if isinstance(value, type) and name != "StreamReaderProtocol":
        return issubclass(value, BaseException) or is_abstract(value)
    return isinstance(value, str)


def test_constants_exceptions_and_abstract_classes_are_asyncio_s() -> None:
    for name in filter(is_plain, NAMES):
        assert getattr(ferrio, name) is getattr(asyncio, name), name


def test_what_works_and_is_asyncio_s_is_known() -> None:
    kept = {
        # Types of what the loop makes: ferrio's handles are instances of subclasses.
        *("Handle", "TimerHandle", "Server"),
        # Where they are asked for: what they know is the interpreter's.
        *("_enter_task", "_get_running_loop", "_leave_task", "_register_task", "_set_running_loop"),
        *("_unregister_task", "all_tasks", "current_task", "get_event_loop", "get_running_loop"),
        *("get_event_loop_policy", "set_event_loop", "set_event_loop_policy"),
        # They tell things apart, or set something up and call the rest.
        *("iscoroutine", "iscoroutinefunction", "isfuture"),
        *("create_eager_task_factory", "run_coroutine_threadsafe", "to_thread", "wrap_future"),
        *("capture_call_graph", "format_call_graph", "print_call_graph"),
        *("FrameCallGraphEntry", "FutureCallGraph"),
        *("future_add_to_awaited_by", "future_discard_from_awaited_by"),
        # Child watchers, which end with 3.13.
        *("FastChildWatcher", "MultiLoopChildWatcher", "PidfdChildWatcher", "SafeChildWatcher"),
        *("ThreadedChildWatcher", "get_child_watcher", "set_child_watcher"),
        # These differ from version to version.
        *(
            ["wait_for"]
            if sys.version_info < (3, 12)
            else ["as_completed"]
            if sys.version_info >= (3, 13)
            else []
        ),
    }
    works = {name for name in NAMES if not is_plain(name)}
    assert works - set(OURS) == kept & set(NAMES)


# Where ferrio's signature is meant to be another, and what it is.
OTHER_SIGNATURES = {
    # uvloop's; and the default is ferrio's loop.
    "run": "(main, *, loop_factory, debug=None, **kwargs)",
    "Runner": "(*, debug=None, loop_factory)",
    # One on all interpreters. asyncio's has become (coro, **kwargs) on the way, and passes them on.
    "SelectorEventLoop.create_task": "(coro, *, name=None, context=None, **kwargs)",
    "EventLoop.create_task": "(coro, *, name=None, context=None, **kwargs)",
}


def signature(value: Any) -> str | None:
    """Return what a caller sees, or None where CPython doesn't know it.

    Annotations are left out: asyncio has hardly any, and native functions none. So are defaults that are no literals.
    """
    try:
        found = inspect.signature(value)
    except ValueError:
        return None
    parameters = []
    for each in found.parameters.values():
        literal = isinstance(each.default, int | float | str | None)
        kept = each.default if literal else inspect.Parameter.empty
        parameters.append(each.replace(annotation=inspect.Parameter.empty, default=kept))
    return str(inspect.Signature(parameters, __validate_parameters__=False))


def members(cls: type) -> dict[str, Any]:
    """Return the public attributes of a class, and the functions that `async with`, `async for` and `await` call."""
    names = [name for name in dir(cls) if not name.startswith("_") or name.startswith("__a")]
    return {name: inspect.getattr_static(cls, name) for name in names}


def of_a_method(function: Any) -> str | None:
    """Return the signature of a class's function without its first parameter."""
    shown = signature(function)
    return shown and re.sub(r"^\(\w+(, /)?(, )?", "(", shown)


@pytest.mark.parametrize("name", OURS)
def test_a_signature_is_asyncio_s(name: str) -> None:
    original, ours = getattr(asyncio, name), getattr(ferrio, name)
    expected = OTHER_SIGNATURES.get(name, signature(original))
    if expected is not None:
        assert signature(ours) == expected


CLASSES = [name for name in OURS if isinstance(getattr(asyncio, name), type)]


@pytest.mark.parametrize("name", CLASSES)
def test_the_signatures_of_the_methods_are_asyncio_s(name: str) -> None:
    ours = members(getattr(ferrio, name))
    differing = {}
    for member, original in members(getattr(asyncio, name)).items():
        assert member in ours
        assert callable(ours[member]) == callable(original), member
        if callable(original):
            expected = OTHER_SIGNATURES.get(f"{name}.{member}", of_a_method(original))
            if expected is not None and of_a_method(ours[member]) != expected:
                differing[member] = of_a_method(ours[member]), expected
    assert differing == {}


SUBMODULES = sorted(
    name.partition(".")[2]
    for name in sys.modules
    if name.startswith("asyncio.") and name != "asyncio.__main__"
)


@pytest.mark.parametrize("name", SUBMODULES)
def test_a_submodule_is_asyncio_s_with_ferrio_s_names(name: str) -> None:
    original = getattr(asyncio, name)
    module = getattr(ferrio, name)
    assert sys.modules[f"ferrio.{name}"] is module
    assert dir(module) == dir(original)
    ours = {id(getattr(asyncio, each)): getattr(ferrio, each) for each in OURS}
    replaced = 0
    for each, value in vars(original).items():
        if each.startswith("__") or value is asyncio.subprocess.SubprocessStreamProtocol:
            continue
        expected = ours.get(id(value), value)
        replaced += expected is not value
        assert getattr(module, each) is expected, each
    assert replaced or module is original


def test_a_submodule_follows_asyncio_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ferrio.tasks is not asyncio.tasks
    monkeypatch.setattr(asyncio.tasks, "a_new_name", 1, raising=False)
    assert ferrio.tasks.a_new_name == 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"module 'ferrio\.tasks' has no attribute 'no_name'"):
        _ = ferrio.tasks.no_name  # type: ignore[attr-defined]


def test_submodules_can_be_imported() -> None:
    program = (
        "import ferrio.queues, ferrio.exceptions, ferrio\n"
        "from ferrio.subprocess import PIPE, create_subprocess_exec\n"
        "from ferrio.tasks import *\n"
        "print(ferrio.queues.Queue is ferrio.Queue, ferrio.create_task is create_task)\n"
        "print(create_subprocess_exec is ferrio.create_subprocess_exec, PIPE)\n"
    )
    assert run_code(program, "-W", "error").split() == ["True", "True", "True", "-1"]


def test_a_subprocess_has_ferrio_s_streams() -> None:
    async def main() -> None:
        pipe = ferrio.subprocess.PIPE
        code = "import sys; sys.stderr.write('e'); sys.stdout.write(sys.stdin.read() * 2)"
        words = sys.executable, "-c", code
        child = await ferrio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
        assert type(child) is asyncio.subprocess.Process
        assert type(child.stdin) is ferrio.StreamWriter
        assert type(child.stdout) is type(child.stderr) is ferrio.StreamReader
        assert await child.communicate(b"ab") == (b"abab", b"e")
        assert child.returncode == 0

        child = await ferrio.create_subprocess_shell("read x; echo $x; exit 3", pipe, pipe)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is None
        child.stdin.write(b"line\n")
        await child.stdin.drain()
        assert await child.stdout.readline() == b"line\n"
        assert await child.wait() == 3

        child = await ferrio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe, limit=4)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"too long a line\n")
        with pytest.raises(ValueError, match="chunk is longer than limit"):
            await child.stdout.readline()
        child.stdin.close()
        await child.stdin.wait_closed()
        await child.communicate()

    ferrio.run(main())


def test_a_selector_is_left_alone() -> None:
    with selectors.SelectSelector() as selector:
        loop = ferrio.SelectorEventLoop(selector)
        assert type(loop) is ferrio.Loop
        assert loop.run_until_complete(asyncio.sleep(0, 5)) == 5
        loop.close()
        assert selector.get_map() == {}
