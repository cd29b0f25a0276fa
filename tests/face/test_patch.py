"""`patch()`, `unpatch()`, `patched()`: asyncio with ferrio's names, and exactly as before."""

import asyncio
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import ferrio
import pytest

from ..children import run_code

# asyncio's own, as somebody has them who imported them before.
ORIGINAL = {name: getattr(asyncio, name) for name in {*asyncio.__all__, "TaskGroup"}}
KEPT = {"run", "Runner", "new_event_loop", "DefaultEventLoopPolicy"}
REPLACED = {
    name
    for name, value in ORIGINAL.items()
    if getattr(ferrio, name) is not value and name not in KEPT
}


def state() -> dict[tuple[str, str], Any]:
    """Return everything that is in asyncio's modules and classes, under its place."""
    modules = [m for name, m in sys.modules.items() if name.partition(".")[0] == "asyncio"]
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            found[module.__name__, name] = value
            if isinstance(value, type) and value.__module__ == module.__name__:
                for attribute, inner in vars(value).items():
                    found[f"{module.__name__}.{name}", attribute] = inner
    return found


def changed(before: dict[tuple[str, str], Any], after: dict[tuple[str, str], Any]) -> set[Any]:
    return {
        place
        for place in before.keys() | after.keys()
        if before.get(place, place) is not after.get(place, place)
    }


@pytest.fixture
def patched() -> Iterator[None]:
    ferrio.patch()
    yield
    ferrio.unpatch()


def test_asyncio_is_not_patched_by_the_import() -> None:
    program = "import asyncio; task = asyncio.Task; import ferrio; print(asyncio.Task is task)"
    assert run_code(program) == "True\n"


@pytest.mark.usefixtures("patched")
def test_every_name_in_the_package_is_ferrio_s() -> None:
    assert ferrio.patched()
    for name in REPLACED:
        assert getattr(asyncio, name) is getattr(ferrio, name), name
    for name in ORIGINAL.keys() - REPLACED:
        assert getattr(asyncio, name) is ORIGINAL[name], name


@pytest.mark.usefixtures("patched")
def test_one_original_is_left_that_asyncio_s_code_compares_with() -> None:
    originals = {id(ORIGINAL[name]) for name in REPLACED}
    left = [
        (module.__name__, name)
        for module in sys.modules.values()
        if isinstance(module, ModuleType) and module.__name__.startswith("asyncio")
        for name, value in vars(module).items()
        if id(value) in originals
    ]
    assert left == [("asyncio.streams", "StreamReader")]
    assert asyncio.tasks.Task is ferrio.Task
    assert asyncio.futures.Future is ferrio.Future
    assert asyncio.subprocess.create_subprocess_exec is ferrio.create_subprocess_exec


def test_nothing_of_the_originals_is_left_changed() -> None:
    before = state()
    assert not ferrio.patched()
    ferrio.patch()
    assert ferrio.patched()
    assert len(changed(before, state())) > 10
    ferrio.unpatch()
    assert not ferrio.patched()
    assert changed(before, state()) == set()


def test_it_is_idempotent() -> None:
    before = state()
    ferrio.patch()
    once = state()
    ferrio.patch()
    assert changed(once, state()) == set()
    ferrio.unpatch()
    assert changed(before, state()) == set()
    ferrio.unpatch()
    assert changed(before, state()) == set()


def test_what_was_changed_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = object()
    before = state()
    monkeypatch.setattr(asyncio.tasks, "Task", asyncio.tasks.Task)  # To be undone at the end.
    ferrio.patch()
    asyncio.tasks.Task = mine  # type: ignore[misc, assignment]
    ferrio.unpatch()
    assert asyncio.tasks.Task is mine
    assert changed(before, state()) == {("asyncio.tasks", "Task")}


def test_what_was_there_instead_of_an_original_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = object()
    monkeypatch.setattr(asyncio, "Task", mine)
    ferrio.patch()
    try:
        assert asyncio.Task is mine
        assert asyncio.tasks.Task is ferrio.Task
    finally:
        ferrio.unpatch()
    assert asyncio.Task is mine


def test_a_submodule_that_is_imported_later_has_ferrio_s_names() -> None:
    program = (
        "import sys, asyncio, ferrio\n"
        "for name in ('asyncio.staggered',): sys.modules.pop(name)\n"
        "ferrio.patch()\n"
        "from asyncio import staggered\n"
        "print(staggered.tasks.Task is ferrio.Task)\n"
    )
    assert run_code(program) == "True\n"


async def running() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.mark.usefixtures("patched")
def test_the_loops_that_asyncio_makes_are_ferrio_s() -> None:
    assert type(asyncio.run(running())) is ferrio.Loop
    with asyncio.Runner() as runner:
        assert type(runner.get_loop()) is ferrio.Loop
    loop = asyncio.new_event_loop()
    assert type(loop) is ferrio.Loop
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.close()
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert type(runner.get_loop()) is ferrio.Loop
    if sys.version_info >= (3, 13):
        loop = asyncio.EventLoop()
        assert type(loop) is ferrio.Loop
        loop.close()


def test_without_the_patch_they_are_asyncio_s() -> None:
    ferrio.patch()
    ferrio.unpatch()
    assert type(asyncio.run(running())) is ORIGINAL["SelectorEventLoop"]


@pytest.mark.usefixtures("patched")
def test_a_loop_of_the_program_s_choice_is_run() -> None:
    with asyncio.Runner(loop_factory=ORIGINAL["SelectorEventLoop"]) as runner:
        assert type(runner.run(running())) is ORIGINAL["SelectorEventLoop"]
    loop = ORIGINAL["SelectorEventLoop"]()
    asyncio.set_event_loop(loop)
    assert asyncio.get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15")
def test_a_policy_of_the_program_s_choice_is_asked() -> None:
    program = (
        "import asyncio, ferrio, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "theirs = asyncio.SelectorEventLoop\n"
        "ferrio.patch()\n"
        "class Policy(asyncio.DefaultEventLoopPolicy):\n"
        "    def new_event_loop(self): return theirs()\n"
        "asyncio.set_event_loop_policy(Policy())\n"
        "async def main(): return type(asyncio.get_running_loop()) is theirs\n"
        "print(asyncio.run(main()))\n"
    )
    assert run_code(program) == "True\n"


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15")
def test_a_policy_that_is_there_already_makes_ferrio_s_loop_and_keeps_its_own() -> None:
    program = (
        "import asyncio, ferrio, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "theirs = asyncio.new_event_loop()\n"
        "asyncio.set_event_loop(theirs)\n"
        "policy = asyncio.get_event_loop_policy()\n"
        "ferrio.patch()\n"
        "ours = asyncio.new_event_loop()\n"
        "print(asyncio.get_event_loop_policy() is policy, asyncio.get_event_loop() is theirs)\n"
        "print(type(theirs) is type(ours), type(ours) is ferrio.Loop)\n"
        "ours.close(); theirs.close()\n"
    )
    assert run_code(program).split() == ["True", "True", "False", "True"]


def test_a_program_that_patches_while_asyncio_s_loop_runs_goes_on() -> None:
    async def main() -> list[int]:
        async def double(number: int) -> int:
            await asyncio.sleep(0)
            return number * 2

        before = asyncio.create_task(double(1))
        ferrio.patch()
        after = asyncio.create_task(double(2))
        assert type(after) is ferrio.Task
        assert type(before) is not ferrio.Task
        try:
            async with asyncio.timeout(10):
                return await asyncio.gather(before, after, double(3))
        finally:
            ferrio.unpatch()

    assert asyncio.run(main()) == [2, 4, 6]
