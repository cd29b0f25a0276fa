"""`getaddrinfo` and `getnameinfo`: what they return and raise is asyncio's, and literal addresses need no thread."""

import asyncio
import itertools
import logging
import socket
import sys
import threading
from asyncio import base_events
from collections.abc import Callable, Coroutine
from typing import Any

import ferrio
import pytest

Loop = asyncio.AbstractEventLoop

HOSTS: tuple[Any, ...] = (
    None,
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    b"10.1.2.3",
    "::1",
    "::",
    b"::1",
    "2001:DB8::0:1",
    "1:0:2:3:4:5:6:7",
    "::1.2.3.4",
    "::ffff:1.2.3.4",
    "fe80::1%lo",
    "fe80::1%1",
    "fe80::1%nosuch",
    "::1%lo",
    "ff02::1%lo",
)
"""What is answered without a thread."""

OTHERS: tuple[Any, ...] = (
    "127.1",
    "0x7f.1",
    "010.0.0.1",
    "127.0.0.1%lo",
    "fe80::1%",
    "1.2.3.4\0",
    b"1.2.3.4\0",
    b"\xff",
    "\uff11.2.3.4",
    "\ud800",
    "fe80::1%" + "x" * 64,
    "fe80::1%a..b",
    bytearray(b"127.0.0.1"),
    5,
)
"""What the standard library may make of it is for it to say."""

PORTS: tuple[Any, ...] = (
    None,
    0,
    80,
    "80",
    "080",
    65535,
    65536,
    "70000",
    -1,
    1 << 70,
    True,
    "80 ",
    b"80",
    1.5,
)
FAMILIES = (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, 99)
KINDS: tuple[Any, ...] = (
    0,
    socket.SOCK_STREAM,
    socket.SOCK_DGRAM,
    socket.SOCK_RAW,
    socket.SOCK_SEQPACKET,
    6,
    99,
)
PROTOCOLS = (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 132, 99)
FLAGS: tuple[int, ...] = (
    0,
    socket.AI_PASSIVE,
    socket.AI_CANONNAME,
    socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    socket.AI_V4MAPPED,
    socket.AI_V4MAPPED | socket.AI_ALL,
    socket.AI_ADDRCONFIG,
    1 << 20,
)


def outcome(loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> str:
    """What came of it, with the types: members of enumerations show themselves as such."""
    try:
        return repr(loop.run_until_complete(coroutine))
    except Exception as error:
        return f"{type(error)} {error!r} {error.args}"


@pytest.fixture
def loops() -> Any:
    """The standard library's loop and ferrio's."""
    with ferrio.Runner(loop_factory=asyncio.SelectorEventLoop) as theirs, ferrio.Runner() as ours:
        yield theirs.get_loop(), ours.get_loop()


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is started fails the test."""

    def start(thread: threading.Thread) -> None:
        raise AssertionError(f"{thread} is started")

    monkeypatch.setattr(threading.Thread, "start", start)


def options() -> list[dict[str, int]]:
    """Each option with each value, and the options together where they could meet."""
    alone = [
        *({"family": family} for family in FAMILIES),
        *({"type": kind} for kind in KINDS),
        *({"proto": protocol} for protocol in PROTOCOLS),
        *({"flags": flags} for flags in FLAGS),
    ]
    together = [
        {"family": family, "type": socket.SOCK_STREAM, "flags": flags}
        for family, flags in itertools.product(FAMILIES[:3], FLAGS)
    ]
    return [*alone, *together]


@pytest.mark.parametrize("host", [*HOSTS, *OTHERS], ids=repr)
def test_the_answers_are_those_of_asyncio(loops: tuple[Loop, Loop], host: Any) -> None:
    cases = [(80, given) for given in options()]
    cases += [(port, {"type": socket.SOCK_STREAM}) for port in PORTS]
    for port, given in cases:
        theirs, ours = (outcome(loop, loop.getaddrinfo(host, port, **given)) for loop in loops)
        assert ours == theirs, (port, given)


@pytest.mark.parametrize("host", HOSTS, ids=repr)
@pytest.mark.usefixtures("no_threads")
def test_no_thread_is_started_for_a_literal_address(host: Any) -> None:
    with ferrio.Runner() as runner:
        for port, given in itertools.product((None, 80, "80"), options()):
            outcome(runner.get_loop(), runner.get_loop().getaddrinfo(host, port, **given))


@pytest.mark.parametrize("value", ["1", 1.0, None, 1 << 40])
@pytest.mark.parametrize("option", ["family", "type", "proto", "flags"])
def test_an_option_of_another_type_is_refused_in_the_same_words(
    loops: tuple[Loop, Loop], option: str, value: Any
) -> None:
    given: Any = {option: value}
    theirs, ours = (outcome(loop, loop.getaddrinfo("::1", 1, **given)) for loop in loops)
    assert ours == theirs


@pytest.mark.parametrize(
    "where",
    [socket, base_events.socket],
    ids=["socket", "base_events.socket"],  # type: ignore[attr-defined]
)
def test_a_replaced_function_is_called_in_a_thread(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    def getaddrinfo(*args: Any) -> Any:
        return args, threading.current_thread() is threading.main_thread()

    def getnameinfo(*args: Any) -> Any:
        return args, threading.current_thread() is threading.main_thread()

    monkeypatch.setattr(where, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(where, "getnameinfo", getnameinfo)
    found: Any = loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, family=2, flags=4))
    assert found == (("127.0.0.1", 80, 2, 0, 0, 4), False)
    name: Any = loop.run_until_complete(loop.getnameinfo(("127.0.0.1", 80), 3))
    assert name == ((("127.0.0.1", 80), 3), False)


def test_debug_mode_logs_an_answer_that_took_long(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = -1.0
    with caplog.at_level(logging.INFO, "asyncio"):
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80))
    assert any("Getting address info 127.0.0.1:80 took" in text for text in caplog.messages)


def test_after_the_executor_was_shut_down_there_are_no_answers(loop: Loop) -> None:
    loop.run_until_complete(loop.shutdown_default_executor())
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: loop.getaddrinfo("127.0.0.1", 80),
        lambda: loop.getnameinfo(("127.0.0.1", 80), 3),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_until_complete(call())


def test_audit_hooks_are_told() -> None:
    told: list[Any] = []
    listening = True

    def hook(event: str, args: Any) -> None:
        if listening and event == "socket.getaddrinfo":
            told.append(args)

    sys.addaudithook(hook)  # There is no taking it away.
    try:
        with ferrio.Runner() as runner:
            loop = runner.get_loop()
            loop.run_until_complete(loop.getaddrinfo("127.0.0.1", "80", type=socket.SOCK_STREAM))
        socket.getaddrinfo("127.0.0.1", "80", type=socket.SOCK_STREAM)
    finally:
        listening = False
    assert told[0] == told[1] == ("127.0.0.1", "80", 0, 1, 0)


@pytest.mark.parametrize(
    "address",
    [
        ("127.0.0.1", 80),
        ("::1", 80),
        ("fe80::1", 80, 0, 1),
        ("fe80::1%lo", 80),
        ("localhost", 80),
        ("127.0.0.1", 70000),
        ("127.0.0.1", "80"),
        ("127.0.0.1",),
        "127.0.0.1",
        5,
    ],
    ids=repr,
)
@pytest.mark.parametrize("flags", [3, 3 | socket.NI_DGRAM, socket.NI_NUMERICHOST, 3.0], ids=repr)
def test_names_are_those_of_asyncio(loops: tuple[Loop, Loop], address: Any, flags: Any) -> None:
    theirs, ours = (outcome(loop, loop.getnameinfo(address, flags)) for loop in loops)
    assert ours == theirs


@pytest.mark.usefixtures("no_threads")
def test_no_thread_is_started_for_a_numeric_name() -> None:
    with ferrio.Runner() as runner:
        loop = runner.get_loop()
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert loop.run_until_complete(loop.getnameinfo(("::1", 80), flags)) == ("::1", "80")
