"""Chains of any length die without exhausting the stack, and recursion that can't be cut short is an error."""

import sys

import pytest

from tests.children import run_code

# The debug build of CPython looks at all it does, and takes long.
_DEBUG = hasattr(sys, "gettotalrefcount")
LENGTH = 20_000 if _DEBUG else 100_000

# Each makes a chain of futures or tasks of which each holds the next; `head` is the only reference to it.
CHAINS = {
    "results": """
        for _ in range(LENGTH):
            future = loop.create_future()
            future.set_result(head)
            head = future
    """,
    "callbacks": """
        for _ in range(LENGTH):
            future = loop.create_future()
            if head is not None:
                future.add_done_callback(head.set_result)
            head = future
    """,
    "callbacks of a Python class": """
        class Future(ferrio.Future):
            def __del__(self):
                deaths.append(1)
        deaths = []
        for _ in range(LENGTH):
            future = Future(loop=loop)
            future.add_done_callback(lambda future, head=head: None)
            head = future
        del future
        head = None
        assert len(deaths) == LENGTH
    """,
    "exceptions that nobody retrieved": """
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(str(context["exception"])))
        for number in range(LENGTH):
            future = loop.create_future()
            error = ValueError(number)
            error.held = head
            future.set_exception(error)
            head = future
        del future, error
        head = None
        assert sorted(map(int, reports)) == list(range(LENGTH))
    """,
    "pending tasks": """
        async def wait(what):
            await what
        loop.set_exception_handler(lambda loop, context: None)
        head = loop.create_future()
        for _ in range(LENGTH):
            head = loop.create_task(wait(head))
        loop.run_until_complete(asyncio.sleep(0))
        assert len(asyncio.all_tasks(loop)) == LENGTH
    """,
    "a cycle": """
        last = loop.create_future()
        head = last
        for _ in range(LENGTH):
            future = loop.create_future()
            future.set_result(head)
            head = future
        last.set_result(head)
        del last
    """,
}

# In a thread with a small stack: no link may take a part of it.
PROGRAM = """
import asyncio, gc, textwrap, threading, weakref
import ferrio

def run(loop, LENGTH={length}):
    names = {{**globals(), "LENGTH": LENGTH, "loop": loop, "head": None}}
    exec(textwrap.dedent({chain!r}), names)
    end = weakref.ref(names["head"]) if names["head"] is not None else lambda: None
    names.clear()
    gc.collect()
    assert end() is None

loop = ferrio.new_event_loop()
threading.stack_size(1 << 20)
thread = threading.Thread(target=run, args=(loop,))
thread.start()
thread.join()
loop.close()
"""


@pytest.mark.parametrize("name", CHAINS)
def test_a_long_chain_dies(name: str) -> None:
    run_code(PROGRAM.format(length=LENGTH, chain=CHAINS[name]))


def test_a_chain_of_a_million_dies() -> None:
    run_code(PROGRAM.format(length=LENGTH if _DEBUG else 1_000_000, chain=CHAINS["results"]))


def test_a_finalizer_in_the_middle_brings_its_object_back() -> None:
    """And everything that hangs on it; what is before it is gone."""
    run_code("""if 1:
        import weakref
        import ferrio
        loop = ferrio.new_event_loop()
        kept = []
        class Phoenix(ferrio.Future):
            def __del__(self):
                kept.append(self)
        head = None
        for number in range(10_000):
            future = (Phoenix if number == 5_000 else ferrio.Future)(loop=loop)
            future.set_result(head)
            head = future
        del future
        head = None
        [phoenix] = kept
        length = 0
        while (phoenix := phoenix.result()) is not None:
            length += 1
        assert length == 5_000, length
        del phoenix
        kept.clear()
        loop.close()
    """)


def test_tasks_whose_death_is_put_off_are_not_shown() -> None:
    """A finalizer that lists the tasks finds none of those that are already without a reference."""
    run_code("""if 1:
        import asyncio
        import ferrio
        loop = ferrio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        seen = []
        class Look:
            def __del__(self):
                seen.append(all(isinstance(task, asyncio.Task) for task in asyncio.all_tasks(loop)))
                asyncio.all_tasks(loop)
        async def wait(what, look):
            await what
        head = loop.create_future()
        for _ in range(1000):
            head = loop.create_task(wait(head, Look()))
        loop.run_until_complete(asyncio.sleep(0))
        head = None
        import gc
        gc.collect()
        assert seen == [True] * 1000
        assert asyncio.all_tasks(loop) == set()
        loop.close()
    """)


def test_the_cancellation_of_a_very_long_chain_is_a_recursion_error() -> None:
    """As asyncio's is; the chain goes on waiting."""
    program = """if 1:
        import asyncio
        import ferrio
        async def wait(what):
            await what
        async def main():
            loop = asyncio.get_running_loop()
            head = end = loop.create_future()
            for _ in range({length}):
                head = loop.create_task(wait(head))
            await asyncio.sleep(0)
            try:
                head.cancel()
            except RecursionError:
                pass
            else:
                raise SystemExit("no error")
            end.set_result(None)
            await asyncio.wait([head])
        ferrio.run(main())
    """
    run_code(program.format(length=LENGTH))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there wait_for() makes a task of each")
def test_to_begin_a_very_long_chain_of_native_coroutines_is_a_recursion_error() -> None:
    """As it is with asyncio's, which are Python."""
    program = """if 1:
        import asyncio
        import warnings
        import ferrio
        async def main():
            warnings.simplefilter("ignore")  # What is not reached is never awaited.
            for timeout in 10, None:
                chain = ferrio.sleep(0)
                for _ in range({length}):
                    chain = ferrio.wait_for(chain, timeout)
                try:
                    await chain
                except RecursionError:
                    pass
                else:
                    raise SystemExit("no error")
        ferrio.run(main())
    """
    run_code(program.format(length=LENGTH))
