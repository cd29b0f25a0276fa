"""What a loop remembers of a descriptor: who waits for it beside whom, and what is left when it is closed."""

import asyncio
import os
import resource
import socket
import threading
import time
from typing import Any

import ferrio
import pytest

from .side_by_side import both, outcome, turns, within
from .sockets import KINDS, pair

Loop = asyncio.AbstractEventLoop


def test_two_tasks_receive_from_one_socket():
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            first = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            second = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"for one")
            seen: list[Any] = [await second, first.done()]
            # The first, which waits in vain, takes nobody's place when it ends.
            third = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            first.cancel()
            await turns()
            right.send(b"for another")
            seen.append(await third)
            return seen

    assert both(scenario) == [b"for one", False, b"for another"]


def test_receives_and_sends_at_once():
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sending = loop.create_task(loop.sock_sendall(left, b"x" * (4 << 20)))
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"meanwhile")
            seen: list[Any] = [await receiving, sending.done()]
            received = 0
            while received < 4 << 20:
                received += len(await loop.sock_recv(right, 1 << 20))
            seen.append(await sending)
            return seen

    assert both(scenario) == [b"meanwhile", False, None]


def test_callbacks_beside_calls():
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            written = asyncio.Event()
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            loop.add_writer(left, written.set)
            await written.wait()
            right.send(b"beside a writer")
            seen: list[Any] = [await receiving]
            # And one that begins to wait beside a writer.
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"again")
            seen += [await receiving, loop.remove_writer(left), loop.remove_writer(left)]
            # A reader takes the place of a call that waits.
            read = loop.create_future()
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            loop.add_reader(left, lambda: read.done() or read.set_result(left.recv(100)))
            right.send(b"for the reader")
            seen += [await read, receiving.done(), loop.remove_reader(left)]
            receiving.cancel()
            await turns()
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"as before")
            seen.append(await receiving)
            # Removing the reader removes a call's.
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            seen += [loop.remove_reader(left), loop.remove_reader(left)]
            right.send(b"unheard")
            await turns()
            seen.append(receiving.done())
            receiving.cancel()
            await turns()
            return seen

    both(scenario)


def test_a_waiter_beside_a_callback_is_woken_once():
    """Beside a callback a call waits level-triggered: not to run again and again, it leaves when it is woken."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        with pair() as (left, right):
            loop.add_writer(left, lambda: None)
            receiving = loop.create_task(loop.sock_recv(left, 2))
            await turns()
            right.send(b"more than two")
            assert await receiving == b"mo"
            loop.remove_writer(left)
            turns_taken = 0
            timer = asyncio.Event()
            loop.call_later(0.05, timer.set)
            while not timer.is_set():
                turns_taken += 1
                await asyncio.wait([loop.create_task(timer.wait())])
            return turns_taken

    assert ferrio.run(main()) == 1


def test_a_number_that_another_socket_has_now():
    async def scenario(loop: Loop) -> list[bytes]:
        seen = []
        reused = set()
        for _ in range(5):
            for kind in KINDS:
                with pair(*kind) as (left, right):
                    reused.add(left.fileno())
                    task = loop.create_task(loop.sock_recv(left, 100))
                    await turns()
                    right.send(b"hello")
                    seen.append(await task)
        assert len(reused) < 15
        return seen

    both(scenario)


def test_closed_while_a_call_waits():
    """The call waits in vain, and disturbs nobody who gets its number."""

    async def scenario(loop: Loop) -> list[Any]:
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            number = left.fileno()
            abandoned = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            left.close()
        await turns()
        abandoned.cancel()
        await asyncio.wait([abandoned])
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            assert left.fileno() == number
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"to the new one")
            return [abandoned.cancelled(), await receiving]

    assert both(scenario) == [True, b"to the new one"]


def test_a_number_is_taken_over_while_a_call_waits_on_the_old_socket():
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            number = left.fileno()
            abandoned = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            left.close()
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            assert left.fileno() == number
            receiving = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            # The old call's end must not end the new one's wait.
            abandoned.cancel()
            await asyncio.wait([abandoned])
            right.send(b"to the new one")
            return await within(receiving)

    assert ferrio.run(main()) == b"to the new one"


def test_one_descriptor_in_two_socket_objects():
    async def scenario(loop: Loop) -> list[bytes]:
        with pair() as (left, right):
            seen = []
            for _ in range(3):
                task = loop.create_task(loop.sock_recv(left, 100))
                await turns()
                right.send(b"detached")
                seen.append(await task)
                left = socket.socket(fileno=left.detach())
                left.setblocking(False)
            duplicate = left.dup()
            left.close()
            with duplicate:
                duplicate.setblocking(False)
                task = loop.create_task(loop.sock_recv(duplicate, 100))
                await turns()
                right.send(b"duplicate")
                seen.append(await task)
            return seen

    both(scenario)


def test_received_behind_the_loops_back():
    async def scenario(loop: Loop) -> list[bytes]:
        with pair() as (left, right):
            task = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"one")
            seen = [await task]
            right.send(b"two")
            await asyncio.sleep(0.01)
            seen.append(left.recv(100))
            task = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"three")
            seen.append(await task)
            return seen

    assert both(scenario) == [b"one", b"two", b"three"]


def test_a_socket_becomes_a_transport():
    async def scenario(loop: Loop) -> list[str]:
        with pair() as (left, right):
            task = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"before")
            seen = [str(await task)]
            reader = asyncio.StreamReader()
            transport, _ = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(reader), sock=left
            )
            right.send(b"as a transport")
            seen.append(str(await reader.readexactly(14)))
            seen.append((await outcome(loop.sock_recv(left, 100))).split(" by ")[0])
            transport.close()
            await turns()
            return seen

    both(scenario)


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, ferrio.new_event_loop])
def test_a_closed_socket_whose_file_another_descriptor_holds_wakes_nobody(make_loop: Any) -> None:
    """Not even who watches its number, which is another file's by then."""
    loop = make_loop()
    called: list[str] = []

    async def main() -> None:
        with pair() as (ours, theirs):
            theirs.send(b"x")
            assert await loop.sock_recv(ours, 1) == b"x"
            waiting = asyncio.ensure_future(loop.sock_recv(ours, 1))
            await turns()
            theirs.send(b"y")
            assert await waiting == b"y"
            number, held = ours.fileno(), os.dup(ours.fileno())
            ours.close()
            reading, writing = os.pipe()
            assert reading == number, "the system gives the least number that is free"
            loop.add_reader(reading, called.append, "nothing to read")
            for _ in range(5):
                theirs.send(b"z")
                await asyncio.sleep(0.001)
            assert called == []
            os.write(writing, b"now")
            while not called:
                await asyncio.sleep(0.001)
            assert loop.remove_reader(reading) is True
            for descriptor in (reading, writing, held):
                os.close(descriptor)

    loop.run_until_complete(asyncio.wait_for(main(), 20))
    loop.close()


@pytest.mark.skipif(not hasattr(resource, "RUSAGE_THREAD"), reason="counts a thread's waits")
@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, ferrio.new_event_loop])
def test_what_comes_for_a_closed_socket_wakes_the_loop_once(make_loop: Any) -> None:
    loop = make_loop()
    pieces = 300

    def waits() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

    async def main() -> int:
        with pair() as (ours, theirs):
            waiting = asyncio.ensure_future(loop.sock_recv(ours, 1))
            await turns()
            theirs.send(b"x")
            assert await waiting == b"x"
            held = os.dup(ours.fileno())
            ours.close()
            done = loop.create_future()

            def send() -> None:
                for _ in range(pieces):
                    theirs.send(b"y")
                    time.sleep(0.0005)  # One by one, as a peer would.
                loop.call_soon_threadsafe(done.set_result, None)

            before = waits()
            sender = threading.Thread(target=send)
            sender.start()
            await done
            count = waits() - before
            sender.join()
            os.close(held)
            return count

    assert loop.run_until_complete(main()) < pieces // 3
    loop.close()
