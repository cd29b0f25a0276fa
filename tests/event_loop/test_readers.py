"""`add_reader`, `add_writer` and their removal, on real sockets and pipes."""

import asyncio
import gc
import os
import socket
import weakref
from collections.abc import Iterator
from typing import Any

import ferrio
import pytest

Loop = asyncio.AbstractEventLoop
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two connected sockets that don't block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def turns(loop: Loop, count: int = 3) -> None:
    """Run so many turns, each of which looks at the descriptors once."""

    async def main() -> None:
        for _ in range(count):
            # A timer that is due in the future makes the loop wait, and so poll.
            await asyncio.sleep(0.0005)

    loop.run_until_complete(main())


def test_a_reader_is_called_when_there_is_something_to_read(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    got: list[Any] = []

    def read(*args: Any) -> None:
        got.append((args, ours.recv(100)))
        loop.stop()

    loop.add_reader(ours, read, 1, 2)
    turns(loop)
    assert got == []
    theirs.send(b"hello")
    loop.run_forever()
    assert got == [((1, 2), b"hello")]


def test_a_reader_is_called_again_while_something_is_left(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    got: list[bytes] = []

    def read() -> None:
        got.append(ours.recv(1))
        if len(got) == 5:
            loop.stop()

    theirs.send(b"abcde")
    loop.add_reader(ours, read)
    loop.run_forever()
    assert got == [b"a", b"b", b"c", b"d", b"e"]


def test_a_reader_that_reads_nothing_is_called_again(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[int] = []

    def read() -> None:
        calls.append(1)
        if len(calls) == 3:
            loop.stop()

    theirs.send(b"x")
    loop.add_reader(ours, read)
    loop.run_forever()
    assert len(calls) == 3


def test_a_reader_sees_the_end(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    got: list[bytes] = []

    def read() -> None:
        got.append(ours.recv(100))
        loop.stop()

    loop.add_reader(ours, read)
    theirs.close()
    loop.run_forever()
    assert got == [b""]


def test_a_writer_is_called_while_there_is_room(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[int] = []
    loop.add_writer(ours, calls.append, 1)
    turns(loop)
    assert len(calls) > 1
    while True:
        try:
            ours.send(bytes(100_000))
        except BlockingIOError:
            break
    # What was found writable before the socket was full.
    turns(loop, 1)
    calls.clear()
    turns(loop)
    assert calls == []
    while theirs.recv(100_000) and not calls:
        try:
            turns(loop, 1)
        except BlockingIOError:
            break
    assert calls


def test_reader_and_writer_share_a_descriptor(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[str] = []
    loop.add_reader(ours, lambda: calls.append("read"))
    loop.add_writer(ours, lambda: calls.append("write"))
    turns(loop, 1)
    assert set(calls) == {"write"}
    theirs.send(b"x")
    turns(loop, 1)
    assert set(calls) == {"read", "write"}
    assert loop.remove_writer(ours) is True
    calls.clear()
    turns(loop, 1)
    assert set(calls) == {"read"}
    assert loop.remove_reader(ours) is True


def test_a_new_reader_replaces_the_old_one(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[str] = []
    loop.add_reader(ours, calls.append, "old")
    loop.add_reader(ours, calls.append, "new")
    theirs.send(b"x")
    turns(loop)
    assert set(calls) == {"new"}


def test_removal_tells_whether_there_was_one(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    assert loop.remove_reader(ours) is False
    assert loop.remove_writer(ours) is False
    loop.add_reader(ours, print)
    assert loop.remove_writer(ours) is False
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours) is False
    theirs.send(b"x")
    turns(loop)


def test_a_reader_may_remove_itself(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    calls: list[int] = []

    def read() -> None:
        calls.append(1)
        loop.remove_reader(ours)

    theirs.send(b"x")
    loop.add_reader(ours, read)
    turns(loop)
    assert calls == [1]


def test_a_reader_may_remove_another_that_is_ready(loop: Loop, pair: Pair) -> None:
    first, second = pair
    calls: list[str] = []

    def read(name: str) -> None:
        calls.append(name)
        loop.remove_reader(first)
        loop.remove_reader(second)

    first.send(b"x")
    second.send(b"x")
    loop.add_reader(first, read, "first")
    loop.add_reader(second, read, "second")
    turns(loop)
    assert len(calls) == 1


def test_a_closed_descriptor_is_forgotten_and_its_number_may_come_again() -> None:
    # asyncio's loop never calls the new reader: it takes the number for the old descriptor.
    loop = ferrio.new_event_loop()
    calls: list[str] = []

    def new() -> None:
        calls.append("new")
        loop.stop()

    reading, writing = os.pipe()
    loop.add_reader(reading, calls.append, "old")
    os.close(reading)
    os.close(writing)
    turns(loop)
    again, other = os.pipe()
    assert reading in (again, other), "the system gives the least number that is free"
    try:
        loop.add_reader(again, new)
        os.write(other, b"x")
        loop.run_forever()
        assert calls == ["new"]
    finally:
        loop.close()
        os.close(again)
        os.close(other)


def test_a_descriptor_can_be_removed_after_it_was_closed(loop: Loop) -> None:
    reading, writing = os.pipe()
    loop.add_reader(reading, print)
    os.close(reading)
    os.close(writing)
    assert loop.remove_reader(reading) is True


@pytest.mark.parametrize("direction", ["reader", "writer"])
@pytest.mark.parametrize("end", ["close", "detach"])
def test_a_socket_can_be_removed_after_it_was_closed(loop: Loop, direction: str, end: str) -> None:
    called: list[str] = []
    add, remove = getattr(loop, f"add_{direction}"), getattr(loop, f"remove_{direction}")
    ours, theirs = socket.socketpair()
    with theirs:
        add(ours, called.append, direction)
        theirs.send(b"x")
        number = ours.detach() if end == "detach" else ours.close()
        assert remove(ours) is True
        turns(loop)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            remove(ours)
        if number is not None:
            os.close(number)
    assert called == []


def test_the_loop_holds_the_file_that_it_watches(loop: Loop, pair: Pair) -> None:
    ours, _ = pair

    class File:
        def fileno(self) -> int:
            return ours.fileno()

    file = File()
    reference = weakref.ref(file)
    loop.add_reader(file, print)
    del file
    gc.collect()
    assert reference() is not None
    assert loop.remove_reader(ours) is True
    gc.collect()
    assert reference() is None


def test_the_descriptor_of_a_closing_transport_has_no_reader_to_remove(loop: Loop) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            number = ours.fileno()
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.remove_reader(number)
            transport.write(bytes(10_000_000))
            transport.close()
            assert loop.remove_reader(number) is False
            transport.abort()

    loop.run_until_complete(main())


def test_after_a_failed_removal_nobody_watches_a_closed_descriptor(loop: Loop) -> None:
    called: list[str] = []
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    loop.add_reader(number, called.append, "old reader")
    loop.add_writer(number, called.append, "old writer")
    ours.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.remove_reader(number)
    assert loop.remove_writer(number) is False
    assert loop.remove_reader(number) is False
    theirs.close()
    again, other = socket.socketpair()
    assert number in (again.fileno(), other.fileno()), "the system gives the least number"
    with again, other:
        loop.add_writer(number, called.append, "new writer")
        again.send(b"x")
        other.send(b"x")
        turns(loop)
        assert loop.remove_writer(number) is True
    assert set(called) == {"new writer"}


def test_a_regular_file_is_refused_and_leaves_no_trace(loop: Loop, tmp_path: Any) -> None:
    with (tmp_path / "file").open("w") as file:
        for add in (loop.add_reader, loop.add_writer):
            with pytest.raises(PermissionError) as caught:
                add(file, print)
            assert caught.value.errno == 1
        assert loop.remove_reader(file) is False
        assert loop.remove_writer(file) is False


def test_a_pipe_s_other_end_that_closes_wakes_the_reader(loop: Loop) -> None:
    reading, writing = os.pipe()
    try:
        loop.add_reader(reading, loop.stop)
        os.close(writing)
        loop.run_forever()
        assert os.read(reading, 1) == b""
    finally:
        loop.remove_reader(reading)
        os.close(reading)


def test_a_reader_runs_in_the_context_of_its_adding(loop: Loop, pair: Pair) -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    ours, theirs = pair
    got: list[str] = []

    def read() -> None:
        got.append(variable.get())
        loop.stop()

    token = variable.set("at the adding")
    loop.add_reader(ours, read)
    variable.reset(token)
    theirs.send(b"x")
    loop.run_forever()
    assert got == ["at the adding"]


def test_closing_the_loop_leaves_the_descriptors_open(loop: Loop, pair: Pair) -> None:
    ours, theirs = pair
    loop.add_reader(ours, print)
    loop.close()
    theirs.send(b"x")
    assert ours.recv(1) == b"x"
