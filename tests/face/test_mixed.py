"""ferrio's names and asyncio's work together: each on the other's loop, and both in one program."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import ferrio
import pytest

# Both as they are before anything is patched, and so also what a program has that imported names before.
ASYNCIO = SimpleNamespace(name="asyncio", **{n: getattr(asyncio, n) for n in asyncio.__all__})
ASYNCIO.TaskGroup = asyncio.TaskGroup
FERRIO = SimpleNamespace(name="ferrio", **{n: getattr(ferrio, n) for n in ferrio.__all__})
BOTH = [ASYNCIO, FERRIO]


@pytest.fixture(params=["asyncio", "ferrio", "patched"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """Runs a coroutine on asyncio's loop, on ferrio's, or on the one that patched asyncio makes."""
    if request.param == "patched":
        ferrio.patch()
        make: Any = asyncio.new_event_loop
    else:
        make = {"asyncio": ASYNCIO, "ferrio": FERRIO}[request.param].SelectorEventLoop
    try:
        with ASYNCIO.Runner(loop_factory=make) as runner:
            yield runner.run
    finally:
        ferrio.unpatch()


def each(*names: str) -> pytest.MarkDecorator:
    """Parametrize by where each of the names comes from."""
    cases = list(itertools.product(BOTH, repeat=len(names)))
    return pytest.mark.parametrize(names, cases, ids=lambda n: n.name)


@each("queues", "tasks")
def test_a_queue_between_tasks(run: Any, queues: Any, tasks: Any) -> None:
    async def main() -> list[int]:
        queue = queues.Queue(2)
        got = []

        async def produce() -> None:
            for number in range(20):
                await queue.put(number)

        async def consume() -> None:
            while True:
                got.append(await queue.get())
                queue.task_done()

        consumers = [tasks.create_task(consume()) for _ in range(3)]
        await tasks.gather(produce(), queue.join())
        await queue.join()
        for consumer in consumers:
            consumer.cancel()
        ends = await tasks.gather(*consumers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        return got

    assert run(main()) == [*range(20)]


@each("locks", "groups")
def test_the_locks_in_a_task_group(run: Any, locks: Any, groups: Any) -> None:
    async def main() -> list[str]:
        said = []
        lock, event, semaphore = locks.Lock(), locks.Event(), locks.Semaphore(2)
        condition, barrier = locks.Condition(), locks.Barrier(4)

        async def work(number: int) -> None:
            async with semaphore:
                async with lock:
                    said.append(f"lock {number}")
                await event.wait()
            await barrier.wait()
            async with condition:
                await condition.wait_for(lambda: "go" in said)
            said.append(f"end {number}")

        async with groups.TaskGroup() as group:
            for number in range(4):
                group.create_task(work(number))
            await groups.sleep(0)
            event.set()
            while len(said) < 4:
                await groups.sleep(0)
            async with condition:
                said.append("go")
                condition.notify_all()
        return said

    said = run(main())
    assert said[:5] == ["lock 0", "lock 1", "lock 2", "lock 3", "go"]
    assert sorted(said[5:]) == ["end 0", "end 1", "end 2", "end 3"]


@each("conditions", "locks")
def test_a_condition_on_a_lock_of_the_other_s(run: Any, conditions: Any, locks: Any) -> None:
    async def main() -> bool:
        lock = locks.Lock()
        condition = conditions.Condition(lock)
        async with condition:
            assert lock.locked()
            waiting = locks.create_task(locks.wait_for(lock.acquire(), None))
            await locks.sleep(0)
            assert not waiting.done()
        return bool(await waiting)

    assert run(main())


@each("waits", "futures")
def test_what_waits_for_futures(run: Any, waits: Any, futures: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def after(turns: int) -> int:
            for _ in range(turns):
                await futures.sleep(0)
            return turns

        made = [futures.create_task(after(n)) for n in (30, 1, 20)]
        done, pending = await waits.wait(made, return_when=asyncio.FIRST_COMPLETED)
        assert done == {made[1]}
        assert pending == {made[0], made[2]}
        assert await waits.gather(*made) == [30, 1, 20]
        assert sorted([await first for first in waits.as_completed(made)]) == [1, 20, 30]

        future = futures.Future(loop=loop)
        loop.call_soon(future.set_result, 5)
        assert await waits.wait_for(future, 60) == 5
        with pytest.raises(TimeoutError):
            await waits.wait_for(futures.Future(loop=loop), 0)
        never = futures.Future(loop=loop)
        with pytest.raises(TimeoutError):
            async with waits.timeout(0):
                await never
        assert never.cancelled()

        inner = futures.create_task(after(2))
        outer = waits.shield(inner)
        assert outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert await inner == 2

    run(main())


@each("groups", "tasks")
def test_an_error_in_a_group(run: Any, groups: Any, tasks: Any) -> None:
    async def main() -> list[str]:
        said = []

        async def fail() -> None:
            await tasks.sleep(0)
            raise LookupError("no")

        async def wait() -> None:
            try:
                async with tasks.timeout(60):
                    await tasks.Event().wait()
            finally:
                said.append("cancelled")

        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
            async with groups.TaskGroup() as group:
                group.create_task(wait())
                group.create_task(fail())
        said += map(repr, caught.value.exceptions)
        return said

    assert run(main()) == ["cancelled", "LookupError('no')"]


@each("servers", "clients")
def test_streams(run: Any, servers: Any, clients: Any) -> None:
    async def main() -> None:
        async def serve(reader: Any, writer: Any) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await servers.start_server(serve, "127.0.0.1", 0)
        reader, writer = await clients.open_connection(*server.sockets[0].getsockname())
        for length in (1, 1000, 60_000):
            writer.write(b"x" * length + b"\n")
            await writer.drain()
            assert await reader.readexactly(length + 1) == b"X" * length + b"\n"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


@each("readers", "protocols")
def test_streams_that_are_built_by_hand(run: Any, readers: Any, protocols: Any) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()

        async def serve(reader: Any, writer: Any) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()

        server = await readers.start_server(serve, "127.0.0.1", 0)
        reader = readers.StreamReader(loop=loop)
        transport, protocol = await loop.create_connection(
            lambda: protocols.StreamReaderProtocol(reader, loop=loop),
            *server.sockets[0].getsockname(),
        )
        writer = readers.StreamWriter(transport, protocol, reader, loop)
        writer.write(b"hello")
        await writer.drain()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        return bytes(answer)

    assert run(main()) == b"hello"


@each("names")
def test_threads(run: Any, names: Any) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()

        async def double(number: int) -> int:
            await names.sleep(0)
            return number * 2

        def ask() -> int:
            return int(names.run_coroutine_threadsafe(double(4), loop).result())

        return [
            await names.to_thread(ask),
            await names.wrap_future(loop.run_in_executor(None, ask)),
        ]

    assert run(main()) == [8, 8]


@each("names")
def test_both_see_the_same_tasks(run: Any, names: Any) -> None:
    async def main() -> None:
        waiting = [
            asyncio.get_running_loop().create_task(asyncio.Event().wait()),
            ASYNCIO.Task(ASYNCIO.Event().wait()),
            FERRIO.Task(FERRIO.Event().wait()),
        ]
        current = names.current_task()
        for other in (ASYNCIO, FERRIO, asyncio):
            assert other.current_task() is current
            assert other.all_tasks() == {current, *waiting}
        for task in waiting:
            task.cancel()
        await names.wait(waiting)

    run(main())
