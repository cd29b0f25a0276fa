"""The event loop policy and `install()`."""

import sys
import textwrap

import ferrio
import pytest

from ..children import run_code

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies end with 3.15")


def show(program: str, *options: str) -> list[str]:
    """Run a program, which must end well and silently; return the words that it prints."""
    return run_code(textwrap.dedent(program), *options).split()


def test_the_import_warns_of_nothing_and_changes_no_policy() -> None:
    program = """
        import asyncio
        before = asyncio.events._event_loop_policy
        import ferrio
        from ferrio import *
        EventLoopPolicy, install
        print(asyncio.events._event_loop_policy is before)
    """
    assert show(program, "-W", "error") == ["True"]


def test_install_makes_ferrio_s_loop_the_default() -> None:
    program = """
        import asyncio, warnings, ferrio
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", r"ferrio.install\\(\\) is deprecated")
        ferrio.install()
        async def where(): return asyncio.get_running_loop()
        loop = asyncio.new_event_loop()
        loop.close()
        print(type(loop).__name__, type(asyncio.run(where())).__name__)
        with asyncio.Runner() as runner:
            print(type(runner.get_loop()).__name__)
    """
    assert show(program) == ["Loop"] * 3


def test_install_is_deprecated_where_uvloop_s_is_and_names_the_caller() -> None:
    program = """
        import sys, warnings, ferrio
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ferrio.install()
        print(*(f"{w.category.__name__}:{w.filename}:{w.lineno}" for w in caught))
    """
    expected = ["DeprecationWarning:<string>:5"] if sys.version_info >= (3, 12) else []
    assert show(program) == expected


def test_the_policy_is_asyncio_s_default_one_with_another_loop() -> None:
    program = """
        import asyncio, warnings, ferrio
        warnings.simplefilter("ignore")
        policy = ferrio.EventLoopPolicy()
        print(isinstance(policy, asyncio.DefaultEventLoopPolicy))
        print(isinstance(policy, asyncio.AbstractEventLoopPolicy))
        loop = policy.new_event_loop()
        policy.set_event_loop(loop)
        print(policy.get_event_loop() is loop)
        policy.set_event_loop(None)
        try:
            policy.get_event_loop()
        except RuntimeError:
            print("none")
        loop.close()
        asyncio.set_event_loop_policy(policy)
        print(asyncio.get_event_loop_policy() is policy)
    """
    assert show(program) == ["True", "True", "True", "none", "True"]


def test_each_thread_has_a_loop_of_its_own() -> None:
    program = """
        import asyncio, threading, warnings, ferrio
        warnings.simplefilter("ignore")
        ferrio.install()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        def other():
            try:
                asyncio.get_event_loop()
            except RuntimeError as error:
                print(str(error).replace(" ", "-"))
        thread = threading.Thread(target=other, name="T")
        thread.start()
        thread.join()
        loop.close()
    """
    assert show(program) == ["There-is-no-current-event-loop-in-thread-'T'."]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="child watchers ended with 3.13")
def test_the_policy_has_a_child_watcher() -> None:
    program = """
        import asyncio, warnings, ferrio
        warnings.simplefilter("ignore")
        print(isinstance(ferrio.EventLoopPolicy().get_child_watcher(), asyncio.AbstractChildWatcher))
    """
    assert show(program) == ["True"]


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork")
def test_a_fork_has_no_running_loop_but_may_run_one() -> None:
    program = """
        import asyncio, os, warnings, ferrio
        warnings.simplefilter("ignore")
        ferrio.install()
        async def child():
            await asyncio.sleep(0)
            return type(asyncio.get_running_loop()).__name__
        async def main():
            pid = os.fork()
            if not pid:
                try:
                    print(asyncio.run(child()), flush=True)
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
        asyncio.run(main())
    """
    assert show(program) == ["Loop"]


def test_all_names_what_is_there() -> None:
    assert sorted(ferrio.__all__) == sorted(set(ferrio.__all__))
    assert all(hasattr(ferrio, name) for name in ferrio.__all__)
