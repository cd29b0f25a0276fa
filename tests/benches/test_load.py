"""ferrio-load against servers that echo, and against servers that don't quite."""

import itertools
import json
import os
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benches import tools

# The first test waits for cargo.
pytestmark = pytest.mark.timeout(600)

Answer = Callable[[bytes], bytes | None]
"""What a server sends for what it received; None closes the connection."""


@pytest.fixture(scope="module")
def program() -> Path:
    return tools.build_load()


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server with a thread a connection; the port it listens on."""
    listener = socket.create_server(("127.0.0.1", 0))

    def converse(connection: socket.socket) -> None:
        try:
            if tls:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                while data := connection.recv(65536):
                    reply = answer(data)
                    if reply is None:
                        return
                    connection.sendall(reply)
                if isinstance(connection, ssl.SSLSocket):
                    connection.unwrap()
        except OSError:
            pass  # The load has what it wanted, and is gone.

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=converse, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Wakes the thread; a mere close would not.
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()


def load(program: Path, port: int, *options: str | Path) -> dict[str, Any]:
    """What ferrio-load reports about a fraction of a second with two connections."""
    command: list[str | Path] = [program, "--port", str(port), "--connections", "2"]
    command += ["--warm-up", "0.05", "--seconds", "0.5", *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def faults(report: dict[str, Any]) -> dict[str, int]:
    return {what: count for what, count in report["errors"].items() if count}


def after(count: int, then: Answer) -> Answer:
    """Echoes `count` times, and once answers as `then` does."""
    received = iter(range(count + 1))
    return lambda data: then(data) if next(received, None) == count else data


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--size", "2"),
        ("--size", "1000000"),
        ("--line",),
        ("--rate", "500"),
        ("--reconnect",),
    ],
)
def test_an_honest_server_has_messages_and_no_errors(
    program: Path, options: tuple[str, ...]
) -> None:
    with serving(lambda data: data) as port:
        report = load(program, port, *options)
    assert faults(report) == {}
    assert report["messages"] > 0
    assert report["per_second"] == pytest.approx(report["messages"] / report["seconds"])
    latency = report["latency_us"]
    assert 0 < latency["p50"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]


@pytest.mark.parametrize("options", [(), ("--size", "65536"), ("--reconnect",)])
def test_tls_is_spoken_and_the_servers_certificate_verified(
    program: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    pytest.importorskip("trustme", reason="it makes the certificate, and is not installed")
    made = tools.make_certificate(tmp_path)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made[0])
    with serving(lambda data: data, context) as port:
        report = load(program, port, "--tls", made[1], *options)
        unknown = load(program, port, "--tls", tools.make_certificate(stranger)[1], *options)
    assert faults(report) == {}
    assert report["messages"] > 0
    assert unknown["messages"] == 0
    assert "UnknownIssuer" in unknown["errors"]["first_failure"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda data: bytes([data[0] ^ 1]) + data[1:], id="first byte"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="last byte"),
        pytest.param(lambda data: data + b"a", id="a byte too many"),
        pytest.param(lambda data: data[1:] + data[:1], id="out of order"),
        pytest.param(lambda data: b"x" * len(data), id="other bytes"),
    ],
)
def test_a_server_that_corrupts_one_message_is_found_out(program: Path, wrong: Answer) -> None:
    with serving(after(20, wrong)) as port:
        assert faults(load(program, port)) == {"corrupted": 1}


def test_a_server_that_repeats_the_message_before_is_found_out(program: Path) -> None:
    seen: list[bytes] = []

    def stale(data: bytes) -> bytes:
        seen.append(data)
        return seen[-2] if len(seen) == 20 else data

    with serving(stale) as port:
        assert faults(load(program, port, "--connections", "1")) == {"corrupted": 1}


def test_a_server_that_closes_early_is_found_out(program: Path) -> None:
    with serving(after(20, lambda _: None)) as port:
        assert faults(load(program, port)) == {"closed": 1}


def test_a_server_that_keeps_bytes_back_is_found_out(program: Path) -> None:
    with serving(after(20, lambda data: data[:-1])) as port:
        assert faults(load(program, port)) == {"unanswered": 1}


def echo_datagrams(server: socket.socket, answer: Callable[[int, bytes], bytes | None]) -> None:
    """Answers datagrams, which are counted from 0, until an empty one comes. Where there is no
    answer the datagram is echoed after all, too late: when its connection has sent another."""
    late: tuple[bytes, tuple[str, int]] | None = None
    for number in itertools.count():
        data, client = server.recvfrom(65536)
        if not data:
            return
        # Past its start a message is always the same for a connection.
        if late and late[0][8:] == data[8:]:
            server.sendto(*late)
            late = None
        reply = answer(number, data)
        if reply is None:
            late = (data, client)
        else:
            server.sendto(reply, client)


@pytest.mark.parametrize(
    ("answer", "lost", "wrong"),
    [
        pytest.param(lambda _, data: data, 0, {}, id="honest"),
        pytest.param(lambda number, data: None if number == 20 else data, 1, {}, id="late"),
        pytest.param(
            lambda number, data: data[::-1] if number == 20 else data,
            0,
            {"corrupted": 1},
            id="false",
        ),
    ],
)
def test_a_datagram_that_comes_too_late_is_lost_and_a_wrong_one_found_out(
    program: Path,
    answer: Callable[[int, bytes], bytes | None],
    lost: int,
    wrong: dict[str, int],
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        answering = threading.Thread(target=echo_datagrams, args=(server, answer))
        answering.start()
        # Long enough to find out and go on.
        options = ("--udp", "--size", "64", "--seconds", "0.8")
        report = load(program, server.getsockname()[1], *options)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", server.getsockname())
        answering.join()
    assert report["messages"] > 0
    # A machine that stops for a moment loses another.
    assert lost <= report["lost"] <= lost + 2
    assert faults(report) == wrong


def test_only_the_active_connections_send_more_than_one_message(program: Path) -> None:
    received: list[bytes] = []

    def note(data: bytes) -> bytes:
        received.append(data)
        return data

    with serving(note) as port:
        report = load(program, port, "--connections", "70", "--active", "2", "--size", "32")
    assert faults(report) == {}
    # The start of a message changes, the rest is its connection's.
    messages = Counter(message[8:] for message in received)
    assert len(messages) == 70
    assert sum(count > 1 for count in messages.values()) == 2


def test_a_server_that_is_not_there_is_found_out(program: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        report = load(program, taken.getsockname()[1])
    assert report["messages"] == 0
    assert report["errors"]["failed"] == 2
    assert "refused" in report["errors"]["first_failure"]


def test_lines_have_one_newline_each_and_no_two_messages_are_the_same(program: Path) -> None:
    received: list[bytes] = []

    def note(data: bytes) -> bytes:
        received.append(data)
        return data

    with serving(note) as port:
        load(program, port, "--line", "--size", "64")
    assert received
    assert all(len(line) == 64 and line.index(b"\n") == 63 for line in received)
    assert len(set(received)) == len(received)


def test_the_cpu_time_of_the_named_process_is_measured(program: Path) -> None:
    with serving(lambda data: data) as port:
        report = load(program, port, "--pid", str(os.getpid()))
        unknown = load(program, port)
    assert unknown["cpu_us"] is unknown["memory_kib"] is None
    assert report["cpu_us"] > 0
    assert isinstance(report["memory_kib"], float)
    assert report["cpu_us"] * report["messages"] == pytest.approx(
        report["cpu_share"] * report["seconds"] * 1e6
    )
