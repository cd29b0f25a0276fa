"""`sock_recv` and its like, side by side with asyncio."""

import _socket
import array
import asyncio
import errno
import gc
import inspect
import os
import socket
import ssl
import sys
import weakref
from typing import Any

import ferrio
import pytest

from .side_by_side import both, outcome, turns, within
from .sockets import KINDS, pair, udp

Loop = asyncio.AbstractEventLoop


@pytest.mark.parametrize("kind", KINDS, ids=["tcp", "unix", "unix datagrams"])
def test_receives_what_is_there_and_waits_for_what_comes(kind):
    async def scenario(loop: Loop) -> list[bytes]:
        with pair(*kind) as (left, right):
            seen = []
            right.send(b"there")
            seen.append(await loop.sock_recv(left, 100))
            for size in (100, 100, 2, 100, 0):
                task = loop.create_task(loop.sock_recv(left, size))
                await turns()
                right.send(b"comes")
                seen.append(await task)
            return seen

    both(scenario)


def test_what_is_ready_does_not_suspend():
    async def scenario(loop: Loop) -> list[Any]:
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            right.send(b"there")
            seen = []
            for coro in (loop.sock_recv(left, 100), loop.sock_sendall(left, b"back")):
                with pytest.raises(StopIteration) as stop:
                    coro.send(None)
                seen.append(stop.value.value)
            return seen

    assert both(scenario) == [b"there", None]


def test_a_tuple_or_an_exception_is_returned_as_it_is():
    """StopIteration takes both apart when they are its argument."""

    class Socket(socket.socket):
        def recv(self, n):
            return n

    async def scenario(loop: Loop) -> list[Any]:
        values = [(1, 2), (), (None,), None]
        error = ValueError("a value")
        with Socket() as sock:
            sock.setblocking(False)
            seen = [await loop.sock_recv(sock, value) for value in values]
            assert await loop.sock_recv(sock, error) is error
        return seen

    assert both(scenario) == [(1, 2), (), (None,), None]


def test_the_end_after_the_last_bytes():
    """The peer's bytes and its end have come together: one event tells of both."""

    async def scenario(loop: Loop) -> list[bytes]:
        with pair() as (left, right):
            task = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"first")
            seen = [await task]
            right.send(b"last words")
            right.shutdown(socket.SHUT_WR)
            for size in (4, 100, 100, 100):
                seen.append(await loop.sock_recv(left, size))
            return seen

    assert both(scenario) == [b"first", b"last", b" words", b"", b""]


def test_a_read_stops_where_descriptors_were_sent_along():
    async def scenario(loop: Loop) -> list[bytes]:
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            task = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
            right.sendmsg([b"one"], rights)
            right.sendmsg([b"two"], rights)
            right.send(b"three")
            return [await task] + [await loop.sock_recv(left, 100) for _ in range(2)]

    assert both(scenario) == [b"one", b"two", b"three"]


def test_receives_into_a_buffer():
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            buffer = bytearray(8)
            seen: list[Any] = []
            for room in (buffer, memoryview(buffer)[2:5], array.array("i", [0, 0])):
                task = loop.create_task(loop.sock_recv_into(left, room))
                await turns()
                right.send(b"abc")
                seen.append((await task, bytes(room)))
            return seen

    both(scenario)


def test_datagrams():
    async def scenario(loop: Loop) -> list[Any]:
        with udp() as one, udp() as two:
            names = {one.getsockname(): "one", two.getsockname(): "two"}
            seen: list[Any] = []
            for _ in range(2):
                task = loop.create_task(loop.sock_recvfrom(two, 100))
                await turns()
                seen.append(await loop.sock_sendto(one, b"hello", two.getsockname()))
                seen.append(await loop.sock_sendto(one, b"again", two.getsockname()))
                data, address = await task
                seen.append((data, names[address]))
                buffer = bytearray(10)
                size, address = await loop.sock_recvfrom_into(two, buffer)
                seen.append((size, names[address], bytes(buffer)))
                await loop.sock_sendto(one, b"longer", two.getsockname())
                size, address = await loop.sock_recvfrom_into(two, buffer, 3)
                seen.append((size, names[address], bytes(buffer)))
            return seen

    both(scenario)


@pytest.mark.parametrize("kind", KINDS[:2], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    "wrap", [bytes, bytearray, memoryview, lambda data: array.array("I", data)]
)
def test_sends_more_than_the_socket_takes(kind, wrap):
    content = os.urandom(1 << 20)

    async def scenario(loop: Loop) -> bool:
        with pair(*kind) as (left, right):
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            task = loop.create_task(loop.sock_sendall(left, wrap(content)))
            received = b""
            while len(received) < len(content):
                received += await loop.sock_recv(right, 300_000)
                if len(received) < 300_000:
                    await asyncio.sleep(0.001)  # A reader slow enough for the buffers to fill.
            return (await task) is None and received == content

    # asyncio compares the bytes sent with the array's items, and never ends.
    if isinstance(wrap(b"1234"), array.array):
        with asyncio.Runner(loop_factory=ferrio.new_event_loop) as runner:
            assert runner.run(within(scenario(runner.get_loop())))
    else:
        assert both(scenario)


def test_a_buffer_keeps_its_size_while_it_is_sent():
    async def scenario(loop: Loop) -> str:
        with pair() as (left, _):
            content = bytearray(8 << 20)
            task = loop.create_task(loop.sock_sendall(left, content))
            await turns()
            with pytest.raises(BufferError):
                content.clear()
            task.cancel()
            await asyncio.wait([task])
            gc.collect()
            content.clear()
            return str(task.cancelled())

    both(scenario)


def test_accepts():
    async def scenario(loop: Loop) -> list[Any]:
        seen: list[Any] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for _ in range(3):
                task = loop.create_task(loop.sock_accept(listener))
                await turns()
                with socket.create_connection(listener.getsockname()) as client:
                    connection, address = await task
                    with connection:
                        seen.append((connection.gettimeout(), address == client.getsockname()))
        return seen

    assert both(scenario) == [(0.0, True)] * 3


def test_connects(tmp_path):
    async def scenario(loop: Loop) -> list[str]:
        seen = []
        path = str(tmp_path / "socket")
        with (
            socket.socket(socket.AF_UNIX) as unix,
            socket.create_server(("127.0.0.1", 0)) as tcp,
            socket.socket() as taken,
        ):
            unix.bind(path)
            unix.listen()
            taken.bind(("127.0.0.1", 0))  # and nobody listens
            port = str(taken.getsockname()[1])
            for family, address in [
                (socket.AF_INET, tcp.getsockname()),
                (socket.AF_INET, ("localhost", tcp.getsockname()[1])),
                (socket.AF_INET, taken.getsockname()),
                (socket.AF_UNIX, path),
                (socket.AF_UNIX, os.fsencode(path)),
                (socket.AF_UNIX, path + "-missing"),
                (socket.AF_UNIX, 1),
                (socket.AF_INET, "no tuple"),
            ]:
                with socket.socket(family) as client:
                    client.setblocking(False)
                    seen.append(await outcome(loop.sock_connect(client, address)))
                    if seen[-1] == "None":
                        await loop.sock_sendall(client, b"connected")
        os.unlink(path)
        return [text.replace(port, "…") for text in seen]

    both(scenario)


MISTAKES = {
    "a closed socket": lambda loop, sock, closed: loop.sock_recv(closed, 1),
    "recv_into, closed": lambda loop, sock, closed: loop.sock_recv_into(closed, bytearray(1)),
    "sendall, closed": lambda loop, sock, closed: loop.sock_sendall(closed, b"1"),
    "accept, closed": lambda loop, sock, closed: loop.sock_accept(closed),
    "accept, no listener": lambda loop, sock, closed: loop.sock_accept(sock),
    "a negative size": lambda loop, sock, closed: loop.sock_recv(sock, -1),
    "a size that is none": lambda loop, sock, closed: loop.sock_recv(sock, "1"),
    "a size too large": lambda loop, sock, closed: loop.sock_recv(sock, 1 << 70),
    "read-only room": lambda loop, sock, closed: loop.sock_recv_into(sock, b"1"),
    "no room": lambda loop, sock, closed: loop.sock_recv_into(sock, None),
    "text": lambda loop, sock, closed: loop.sock_sendall(sock, "text"),
    "strided": lambda loop, sock, closed: loop.sock_sendall(sock, memoryview(b"1234")[::2]),
    "no address": lambda loop, sock, closed: loop.sock_sendto(sock, b"1", 5),
    "recvfrom, no size": lambda loop, sock, closed: loop.sock_recvfrom(sock, None),
    "too large": lambda loop, sock, closed: loop.sock_recvfrom_into(sock, bytearray(1), 2),
    "no socket": lambda loop, sock, closed: loop.sock_recv(object(), 1),
    "no listener": lambda loop, sock, closed: loop.sock_accept(5),
}


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, debug):
    async def scenario(loop: Loop) -> str:
        with pair() as (left, _):
            closed = socket.socket()
            closed.setblocking(False)
            closed.close()
            return await outcome(MISTAKES[mistake](loop, left, closed))

    both(scenario, debug)


CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(1)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 1),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(1)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"1"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"1", ("127.0.0.1", 9)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 9)),
}


@pytest.mark.parametrize("call", CALLS)
def test_refuses_tls_and_in_debug_mode_blocking_sockets(call):
    async def scenario(loop: Loop) -> list[str]:
        context = ssl.create_default_context()
        context.check_hostname = False
        plain = socket.socket()
        with context.wrap_socket(plain, do_handshake_on_connect=False) as tls, udp() as blocking:
            blocking.settimeout(5)
            return [
                await outcome(CALLS[call](loop, tls)),
                await outcome(CALLS[call](loop, blocking)),
            ]

    assert both(scenario, debug=True) == [
        "builtins.TypeError: Socket cannot be of type SSLSocket",
        "builtins.ValueError: the socket must be non-blocking",
    ]


def test_a_reset_connection():
    async def scenario(loop: Loop) -> list[str]:
        seen = []
        for call in (CALLS["sock_recv"], CALLS["sock_sendall"]):
            with pair() as (left, right):
                task = loop.create_task(loop.sock_recv(left, 1))
                await turns()
                right.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                right.close()
                seen += [await outcome(task), await outcome(call(loop, left))]
        return seen

    assert "ConnectionResetError [104]" in both(scenario)[0]


def test_a_cancelled_call_takes_nothing():
    async def scenario(loop: Loop) -> list[Any]:
        seen: list[Any] = []
        with pair() as (left, right), udp() as datagrams:
            for name in ("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"):
                for sock in (left, datagrams):
                    task = loop.create_task(CALLS[name](loop, sock))
                    await turns()
                    task.cancel()
                    await asyncio.wait([task])
                    seen.append(task.cancelled())
            right.send(b"kept")
            seen.append(await loop.sock_recv(left, 100))
            # Nobody waits any more.
            seen.append(loop.remove_reader(left.fileno()))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            task = loop.create_task(loop.sock_accept(listener))
            await turns()
            task.cancel()
            await asyncio.wait([task])
            with socket.create_connection(listener.getsockname()):
                connection, _ = await loop.sock_accept(listener)
                connection.close()
        return seen

    assert both(scenario) == [True] * 8 + [b"kept", False]


def test_a_call_is_cancelled_after_its_socket_was_closed():
    class Mine(socket.socket):
        """asyncio's own way to wait, for which the socket is registered anew each time."""

    async def scenario(loop: Loop) -> list[str]:
        ours, theirs = socket.socketpair()
        with theirs, Mine(fileno=ours.detach()) as sock:
            sock.setblocking(False)
            tasks = [
                loop.create_task(loop.sock_recv(sock, 10)),
                loop.create_task(loop.sock_sendall(sock, bytes(10_000_000))),
            ]
            loop.set_exception_handler(lambda _, context: None)
            await turns()
            sock.close()
            for task in tasks:
                task.cancel()
            return [await outcome(ended(task)) for task in tasks]

    async def ended(task: asyncio.Task[Any]) -> bool:
        await asyncio.wait([task])
        return task.cancelled()

    assert both(scenario) == ["True", "True"]


def test_a_socket_that_is_closed_when_it_is_waited_for():
    """As another thread may do while a method of the socket has let go of the GIL."""

    async def main() -> None:
        with socket.socket() as sock:
            sock.close()
            with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
                await asyncio.get_running_loop()._sock_writable(sock)  # type: ignore[attr-defined]

    ferrio.run(main())


def test_a_cancelled_send_can_be_followed_by_another():
    async def scenario(loop: Loop) -> bool:
        with pair() as (left, right):
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            task = loop.create_task(loop.sock_sendall(left, b"x" * (8 << 20)))
            await turns()
            task.cancel()
            await asyncio.wait([task])
            last = loop.create_task(loop.sock_sendall(left, b"the end"))
            received = b""
            while not received.endswith(b"the end"):
                received = received[-10:] + await loop.sock_recv(right, 100_000)
            await last
            return task.cancelled()

    assert both(scenario)


def test_what_comes_in_the_turn_of_a_cancellation_is_not_lost():
    """Here ferrio keeps what asyncio loses: it receives only when the task goes on."""

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        with pair(socket.AF_UNIX, socket.SOCK_STREAM) as (left, right):
            task = loop.create_task(loop.sock_recv(left, 100))
            await turns()
            right.send(b"kept")
            loop.call_soon(task.cancel)
            await asyncio.wait([task])
            assert task.cancelled()
            return await within(loop.sock_recv(left, 100))

    assert ferrio.run(main()) == b"kept"


def test_an_overridden_method_is_called():
    class Shouting(socket.socket):
        def recv(self, size):
            return super().recv(size).upper()

        def send(self, data):
            return super().send(bytes(data[:4]))

    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            left = Shouting(fileno=left.detach())
            with left:
                left.setblocking(False)
                task = loop.create_task(loop.sock_recv(left, 100))
                await turns()
                right.send(b"hello")
                seen: list[Any] = [await task]
                await loop.sock_sendall(left, b"in pieces of four")
                seen.append(await loop.sock_recv(right, 100))
                return seen

    assert both(scenario) == [b"HELLO", b"in pieces of four"]


def test_an_object_without_weak_references():
    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        with pair() as (left, right):
            bare = _socket.socket(fileno=left.detach())
            with pytest.raises(TypeError):
                weakref.ref(bare)
            bare.setblocking(False)
            seen = []
            for _ in range(2):
                task = loop.create_task(loop.sock_recv(bare, 100))
                await turns()
                right.send(b"hello")
                seen.append(await within(task))
            bare.close()
            return seen

    assert ferrio.run(main()) == [b"hello", b"hello"]


@pytest.mark.parametrize("call", [name for name in CALLS if name != "sock_connect"])
def test_it_is_a_coroutine(call):
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, _):
            coro = CALLS[call](loop, left)
            seen = [asyncio.iscoroutine(coro), inspect.isawaitable(coro), coro.__name__]
            seen += [coro.cr_await, coro.cr_running, coro.__qualname__.split(".")[-1]]
            with pytest.raises(TypeError, match="can't send non-None value to a just-started"):
                coro.send(1)
            coro.close()
            for reuse in (coro, asyncio.ensure_future(coro)):
                seen.append(await outcome(reuse))
            coro = CALLS[call](loop, left)
            with pytest.raises(ZeroDivisionError):
                coro.throw(ZeroDivisionError)
            seen.append(await outcome(coro))
            return seen

    both(scenario)


def test_a_coroutine_that_is_awaited_twice():
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            coro = loop.sock_recv(left, 100)

            async def wait() -> bytes:
                return await coro

            first, second = loop.create_task(wait()), loop.create_task(wait())
            await turns()
            right.send(b"once")
            return [await outcome(first), await outcome(second)]

    assert both(scenario) == [
        "b'once'",
        "builtins.RuntimeError: coroutine is being awaited already",
    ]


def test_it_is_closed_while_it_waits():
    async def scenario(loop: Loop) -> list[Any]:
        with pair() as (left, right):
            coro = loop.sock_recv(left, 100)
            waiter = coro.send(None)
            seen = [asyncio.isfuture(waiter), waiter.done()]
            coro.close()
            right.send(b"for another")
            seen.append(await loop.sock_recv(left, 100))
            return seen

    assert both(scenario) == [True, False, b"for another"]


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_it_warns_when_it_was_never_awaited(debug):
    async def scenario(loop: Loop) -> list[str]:
        def call() -> None:
            loop.sock_recv(left, 100)

        with pair() as (left, _), pytest.warns(RuntimeWarning) as warned:
            call()
        [message] = (str(warning.message) for warning in warned)
        lines = message.replace("BaseSelectorEventLoop", "Loop").splitlines()
        # Between them are the frames of the loop.
        return [*lines[:2], *lines[-2:]]

    lines = both(scenario, debug)
    assert lines[0] == "coroutine 'Loop.sock_recv' was never awaited"
    assert lines[-1].endswith("loop.sock_recv(left, 100)") == debug


def test_the_collector_sees_what_a_coroutine_holds():
    class Room(bytearray):
        pass

    loop = ferrio.new_event_loop()
    with pair() as (left, _):
        room = Room(1)
        room.coro = loop.sock_recv_into(left, room)
        room.coro.send(None)
        gone = weakref.ref(room)
        del room
        gc.collect()
        assert gone() is None
    loop.close()


def test_a_task_and_its_loop_are_collected_while_it_waits():
    with pair() as (left, _):
        loop = ferrio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        task = loop.create_task(loop.sock_recv(left, 1))
        loop.run_until_complete(turns())
        loop.close()
        gone = weakref.ref(task)
        del task, loop
        gc.collect()
        assert gone() is None


def test_descriptors_and_memory_stay():
    """Ten thousand connections, each of which is received from, sent to, cancelled on and closed."""
    rounds = 10_000

    async def connection(loop: Loop, listener: socket.socket) -> None:
        with socket.socket() as client:
            client.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(listener))
            await loop.sock_connect(client, listener.getsockname())
            server, _ = await accepting
            with server:
                receiving = loop.create_task(loop.sock_recv(server, 100))
                await asyncio.sleep(0)
                await loop.sock_sendall(client, b"hello")
                assert await receiving == b"hello"
                receiving = loop.create_task(loop.sock_recv_into(server, bytearray(5)))
                await asyncio.sleep(0)
                receiving.cancel()
                await asyncio.wait([receiving])

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            for _ in range(200):
                await connection(loop, listener)
            gc.collect()
            before = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))
            for _ in range(rounds):
                await connection(loop, listener)
            gc.collect()
            after = sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))
        return after[0] - before[0], after[1] - before[1]

    blocks, descriptors = ferrio.run(main())
    assert descriptors == 0
    assert blocks < rounds / 100


def test_out_of_descriptors_while_accepting():
    """The call raises, and the next one accepts."""

    class Poor(socket.socket):
        failures = 1

        def accept(self):
            connection = super().accept()
            if self.failures:
                self.failures -= 1
                connection[0].close()
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return connection

    async def scenario(loop: Loop) -> list[Any]:
        with Poor() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            seen = []
            for _ in range(2):
                with socket.create_connection(listener.getsockname()):
                    try:
                        connection, _ = await loop.sock_accept(listener)
                    except OSError as error:
                        seen.append(error.errno)
                    else:
                        connection.close()
                        seen.append("accepted")
            return seen

    assert both(scenario) == [errno.EMFILE, "accepted"]


@pytest.mark.parametrize("method", ["sock_recv", "sock_recv_into"])
def test_urgent_data_between(method: str) -> None:
    """A read stops before it; the next one finds the rest, which came at the same time."""

    async def scenario(loop: Loop) -> list[bytes]:
        got = []
        with pair() as (ours, theirs):
            for _ in range(3):
                waiting = asyncio.ensure_future(receive(loop, ours))
                await turns()
                theirs.send(b"before")
                got.append(await waiting)
                theirs.send(b"more")
                theirs.send(b"!", socket.MSG_OOB)
                theirs.send(b"after")
                got.append(await receive(loop, ours))
                got.append(await receive(loop, ours))
        return got

    async def receive(loop: Loop, sock: socket.socket) -> bytes:
        if method == "sock_recv":
            return await loop.sock_recv(sock, 100)
        buffer = bytearray(100)
        return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])

    assert both(scenario) == [b"before", b"more", b"after"] * 3
