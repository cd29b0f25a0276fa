"""The reader by itself: its types, its private face, subclasses, what Python code may do meanwhile."""

import asyncio
import gc
import inspect
import sys
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest import mock

import ferrio
import pytest

from tests.interpreter import BEFORE_REPAIRS

Run = Callable[[Any], Any]


def test_types() -> None:
    """Everything that asks for asyncio's classes takes ferrio's."""
    assert issubclass(ferrio.StreamReader, asyncio.StreamReader)
    assert issubclass(ferrio.StreamWriter, asyncio.StreamWriter)
    assert issubclass(ferrio.StreamReaderProtocol, asyncio.StreamReaderProtocol)
    assert issubclass(ferrio.StreamReaderProtocol, asyncio.Protocol)
    for function in (
        ferrio.StreamReader.read,
        ferrio.StreamReader.readline,
        ferrio.StreamReader.readuntil,
        ferrio.StreamReader.readexactly,
        ferrio.StreamWriter.drain,
        ferrio.StreamWriter.wait_closed,
        ferrio.StreamWriter.start_tls,
    ):
        if sys.version_info >= (3, 12):
            assert inspect.iscoroutinefunction(function)


@pytest.mark.parametrize("name", ["StreamReader", "StreamWriter", "StreamReaderProtocol"])
def test_every_method_is_there_with_its_signature(name: str) -> None:
    asyncios, ours = getattr(asyncio, name), getattr(ferrio, name)
    for attribute in dir(asyncios):
        if attribute.startswith("__") or not inspect.isfunction(getattr(asyncios, attribute)):
            continue
        expected = inspect.signature(getattr(asyncios, attribute)).parameters
        actual = inspect.signature(getattr(ours, attribute)).parameters
        assert [*expected] == [*actual], attribute


def test_coroutines_look_like_others(run: Run) -> None:
    async def main() -> None:
        reader = ferrio.StreamReader()
        for method, arguments in [
            ("read", ()),
            ("readline", ()),
            ("readuntil", ()),
            ("readexactly", (1,)),
            ("__anext__", ()),
        ]:
            name = f"StreamReader.{method}"
            call = getattr(reader, method)(*arguments)
            assert asyncio.iscoroutine(call)
            assert call.__qualname__ == name
            with pytest.warns(RuntimeWarning, match=f"coroutine '{name}' was never awaited"):
                del call

    run(main())


def test_what_is_there_is_read_without_a_turn(run: Run) -> None:
    async def main() -> None:
        reader = ferrio.StreamReader()
        reader.feed_data(b"line\nuntil;exact")
        writer = ferrio.StreamWriter(
            mock.Mock(is_closing=lambda: False),
            ferrio.StreamReaderProtocol(reader),
            reader,
            asyncio.get_running_loop(),
        )
        for call, expected in [
            (reader.readline(), b"line\n"),
            (reader.readuntil(b";"), b"until;"),
            (reader.readexactly(5), b"exact"),
            (writer.drain(), None),
        ]:
            with pytest.raises(StopIteration) as caught:
                call.send(None)
            assert caught.value.value == expected

    run(main())


def test_the_buffer_that_is_shown_is_the_buffer(run: Run) -> None:
    async def main() -> None:
        reader: Any = ferrio.StreamReader(limit=3)
        reader.feed_data(b"ab")
        buffer = reader._buffer
        assert type(buffer) is bytearray
        reader.feed_data(b"cd")
        assert buffer == b"abcd"
        buffer[0:1] = b"AAA\n"
        assert await reader.readline() == b"AAA\n"
        assert buffer == b"bcd"
        assert await reader.read(2) == b"bc"
        with memoryview(buffer), pytest.raises(BufferError):
            reader.feed_data(b"x" * 100)
        assert await reader.readexactly(1) == b"d"
        reader._buffer = bytearray(b"other")
        assert await reader.read(9) == b"other"
        with pytest.raises(TypeError):
            reader._buffer = b"bytes"

    run(main())


@pytest.mark.parametrize("streams", [asyncio, ferrio], ids=["asyncio", "ferrio"])
def test_overridden_methods_are_called_by_others(run: Run, streams: ModuleType) -> None:
    class Reader(streams.StreamReader):  # type: ignore[misc, name-defined]
        async def readuntil(self, separator: Any = b"\n") -> bytes:
            line: bytes = await super().readuntil(separator)
            return b"until " + line

        async def read(self, n: int = -1) -> bytes:
            data: bytes = await super().read(n)
            return data.upper()

    class Lines(streams.StreamReader):  # type: ignore[misc, name-defined]
        async def readline(self) -> bytes:
            await asyncio.sleep(0)
            return (await super().readline()).rstrip()  # type: ignore[no-any-return]

    async def main() -> None:
        reader = Reader(limit=4)
        reader.feed_data(b"a\nb\nlong long\nrest")
        reader.feed_eof()
        assert await reader.readline() == b"until a\n"
        assert await anext(reader) == b"until b\n"
        with pytest.raises(ValueError, match="Separator is found, but") as caught:
            await reader.readline()
        assert isinstance(caught.value.__context__, asyncio.LimitOverrunError)
        assert await reader.readuntil(b"e") == b"until re"
        assert await reader.readline() == b"st"
        reader = Reader()
        reader.feed_data(b"x" * 200_000)
        reader.feed_eof()
        # Both the call and the calls of itself in there.
        assert await reader.read() == b"X" * 200_000
        lines = Lines()
        lines.feed_data(b"a\nb\n\nc")
        assert await lines.readline() == b"a"
        assert [line async for line in lines] == [b"b"]

    run(main())


@pytest.mark.parametrize("kind", [asyncio.SelectorEventLoop, ferrio.Loop])
def test_a_loops_own_futures_are_awaited(kind: Any) -> None:
    made: list[Any] = []

    class Subclass(kind):  # type: ignore[misc]
        def create_future(self) -> Any:
            made.append(super().create_future())
            return made[-1]

    async def main() -> None:
        reader: Any = ferrio.StreamReader()
        reading = asyncio.ensure_future(reader.read(5))
        await asyncio.sleep(0)
        assert reader._waiter is made[-1]
        reader.feed_data(b"data")
        assert await reading == b"data"

    with asyncio.Runner(loop_factory=Subclass) as runner:
        runner.run(main())


def test_debug_mode_tells_where_a_reader_was_made() -> None:
    async def main() -> None:
        reader: Any = ferrio.StreamReader()
        assert reader._source_traceback[-1].name == "main"
        protocol: Any = ferrio.StreamReaderProtocol(reader)
        assert protocol._source_traceback is reader._source_traceback
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context))
        protocol._reject_connection = True
        transport = mock.Mock()
        protocol.connection_made(transport)
        assert transport.abort.called
        assert "garbage collected" in told[0]["message"]
        assert told[0]["source_traceback"] is reader._source_traceback

    with asyncio.Runner(debug=True, loop_factory=ferrio.new_event_loop) as runner:
        runner.run(main())


# --- what Python code may do meanwhile -----------------------------------------------------------


def test_a_transport_may_do_anything_when_it_is_paused_and_resumed(run: Run) -> None:
    async def main() -> None:
        reader: Any = ferrio.StreamReader(limit=1)

        class Transport:
            def pause_reading(self) -> None:
                reader._buffer.clear()
                reader.feed_eof()

            def resume_reading(self) -> None:
                reader._buffer.extend(b"more")
                reader._transport = None
                gc.collect()

        reader.set_transport(Transport())
        reader.feed_data(b"abcdef")
        assert reader._paused
        assert await reader.read(3) == b""
        assert not reader._paused
        assert await reader.read(3) == b"mor"
        with pytest.raises(AssertionError, match="feed_data after feed_eof"):
            reader.feed_data(b"x")

    run(main())


def test_a_transport_that_cannot_pause_is_forgotten(run: Run) -> None:
    async def main() -> None:
        reader: Any = ferrio.StreamReader(limit=1)
        transport = mock.Mock(pause_reading=mock.Mock(side_effect=NotImplementedError))
        reader.set_transport(transport)
        reader.feed_data(b"abc")
        reader.feed_data(b"abc")
        assert transport.pause_reading.call_count == 1
        assert await reader.readexactly(6) == b"abcabc"

    run(main())


def test_data_that_changes_the_reader_while_it_is_taken(run: Run) -> None:
    async def main() -> None:
        reader: Any = ferrio.StreamReader()

        class Data(bytearray):
            def __bool__(self) -> bool:
                reader.feed_data(b"first ")
                return True

        class Numbers:
            def __iter__(self) -> Any:
                reader.feed_data(b"third ")
                return iter(b"fourth")

            def __len__(self) -> int:
                return 6

        reader.feed_data(Data(b"second "))
        reader.feed_data(Numbers())
        assert await reader.read(99) == b"first second third fourth"

    run(main())


def test_the_reader_may_die_under_its_protocol(run: Run) -> None:
    async def main() -> None:
        protocol: Any = ferrio.StreamReaderProtocol(ferrio.StreamReader())
        gc.collect()
        assert protocol._stream_reader is None
        protocol.connection_made(mock.Mock())
        protocol.data_received(b"lost")
        assert protocol.eof_received() is False  # A mock's sslcontext is something.
        protocol.connection_lost(None)

    run(main())


# --- memory --------------------------------------------------------------------------------------


class Mark:
    """Something that a weak reference shows to be gone."""


def is_collected(make: Callable[[], Any]) -> bool:
    """Whether what `make()` returns, the only reference to it, is gone after a collection."""
    reference = weakref.ref(make())
    gc.collect()
    return reference() is None


def marked(attribute: str) -> Callable[[], Any]:
    """Make a reader, protocol and writer that refer to each other and, in `attribute`, to a mark."""

    def make() -> Mark:
        mark = Mark()
        loop: Any = asyncio.get_running_loop()
        reader: Any = ferrio.StreamReader()
        protocol: Any = ferrio.StreamReaderProtocol(reader, lambda *_: None)
        transport: Any = Mark()
        transport.is_closing = lambda: True
        transport.cycle = mark
        writer: Any = ferrio.StreamWriter(transport, protocol, reader, loop)
        mark.cycle = writer, reader, protocol, transport  # type: ignore[attr-defined]
        holder, _, name = attribute.partition(".")
        setattr({"reader": reader, "protocol": protocol, "writer": writer}[holder], name, mark)
        return mark

    return make


@pytest.mark.parametrize(
    "attribute",
    [
        *(f"reader.{name}" for name in ("_loop", "_waiter", "_exception", "_transport", "own")),
        "reader._source_traceback",
        *(f"writer.{name}" for name in ("_protocol", "_reader", "_loop", "own")),
        *(f"protocol.{name}" for name in ("_loop", "_strong_reader", "_stream_writer", "_task")),
        *(f"protocol.{name}" for name in ("_transport", "_client_connected_cb", "own")),
    ],
)
def test_cycles_are_collected(run: Run, attribute: str) -> None:
    async def main() -> None:
        gc.collect()
        assert is_collected(marked(attribute))

    run(main())


def test_a_coroutine_in_a_cycle_is_collected(run: Run) -> None:
    async def main() -> None:
        def make() -> Mark:
            mark = Mark()
            reader: Any = ferrio.StreamReader()
            reading = reader.read(5)
            reading.send(None)
            reader.cycle = reading, mark
            return mark

        gc.collect()
        assert is_collected(make)

    run(main())


def test_nothing_is_left_behind(run: Run) -> None:
    """Connections, waits that are cancelled, errors, large buffers: the second thousand costs nothing."""

    async def session() -> None:
        reader: Any = ferrio.StreamReader(limit=10)
        reader.set_transport(mock.sentinel.transport)
        reading = asyncio.ensure_future(reader.readexactly(10))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        reader._transport = None
        reader.feed_data(b"x" * 30_000)
        with pytest.raises(ValueError, match="chunk exceed the limit"):
            await reader.readline()
        reader.feed_data(b"x\ny")
        assert await reader.readuntil((b"\n", b"xy")) == b"x\n"
        reader.feed_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(2)

    async def main() -> None:
        for _ in range(50):
            await session()
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            await session()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 30_000  # A hundred bytes a session.

    run(main())


@pytest.mark.parametrize(
    "streams", [asyncio, ferrio][BEFORE_REPAIRS:], ids=lambda module: module.__name__
)
def test_an_unclosed_writer_warns(run: Run, streams: ModuleType) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport = mock.Mock(is_closing=lambda: False)
        writer = streams.StreamWriter(transport, mock.Mock(), None, loop)
        with pytest.warns(ResourceWarning, match="^unclosed <StreamWriter transport=<Mock id="):
            del writer
        assert transport.close.called
        closed = mock.Mock(is_closed=lambda: True)
        writer = streams.StreamWriter(transport, mock.Mock(), None, closed)
        with pytest.warns(ResourceWarning, match="^loop is closed$"):
            del writer
        transport.is_closing = lambda: True
        writer = streams.StreamWriter(transport, mock.Mock(), None, loop)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del writer

    run(main())
