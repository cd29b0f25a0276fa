"""Each server really echoes, and says so when the loop can't; the C floor too."""

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from benches import machine, tools
from benches.loops import FACTORIES
from benches.measure import echo, http, imports, latency, operations, size
from benches.measure.backends import Backends, accepts, find
from benches.measure.outcome import Failed, NotYet
from benches.measure.process import ROOT, Child, Server, run
from benches.measure.settings import Settings
from benches.operations.client_aiohttp import CONCURRENT
from benches.rows import TABLES, Row
from tests.interpreter import DEBUG_BUILD

# The first test waits for cargo.
pytestmark = pytest.mark.timeout(600)
pytest.importorskip("trustme", reason="it makes the certificate, and is not installed")

# Nothing waits that long unless it hangs, in seconds.
PATIENCE = 120

ROWS = {row.key: row for table in TABLES for row in table.rows}
SAME = {"protocol-64k", "protocol-1m", "streams-1m", "udp-1400"}
"""Rows that differ from others in the length of a message, and would show nothing new."""
ECHO = [
    *(
        row
        for table in TABLES
        for row in table.rows
        if table.key in ("echo", "tls", "unix", "udp") and row.key not in SAME
    ),
    # A small crowd shows as much.
    replace(ROWS["scale-idle"], load=("--connections", "200", "--active", "20")),
    replace(ROWS["scale-timers"], server=("--timers", "1000")),
]
OPERATIONS = [row for table in TABLES if table.key == "operations" for row in table.rows]
CLIENTS = [row for table in TABLES if table.key == "clients" for row in table.rows]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    directory = tmp_path_factory.mktemp("tools")
    certificate, trusted = tools.make_certificate(directory)
    floor = tools.build_floor(directory)
    made = tools.Tools(tools.build_load(), floor, None, certificate, trusted)
    return Settings(made, None, None, warm_up=0.05, seconds=0.3, allowance=PATIENCE)


@pytest.mark.parametrize("row", ECHO, ids=lambda row: row.key)
def test_every_server_echoes_on_the_stdlibs_loop(row: Row, settings: Settings) -> None:
    with echo.ready(row, "asyncio", settings) as sample:
        for figures in (sample(), sample()):
            assert figures["messages"] > 0
            assert figures["cpu_us"] > 0


@pytest.mark.parametrize("key", ["protocol", "unix-protocol"])
def test_the_floor_echoes(key: str, settings: Settings) -> None:
    with echo.ready(ROWS[key], "C", settings) as sample:
        assert sample()["messages"] > 0


def test_latency_is_measured_at_half_of_what_saturates(settings: Settings) -> None:
    with latency.ready(ROWS["latency"], "asyncio", settings) as sample:
        figures = sample()
    assert figures["p999_us"] == figures["latency_us"]["p99.9"] > 0


# Some rounds of 50,000 sleeps take a debug build more than a minute.
COUNTED = [row for row in OPERATIONS if not (DEBUG_BUILD and row.key == "timers")]


@pytest.mark.parametrize("row", COUNTED, ids=lambda row: row.key)
def test_every_operation_is_counted_on_the_stdlibs_loop(row: Row, settings: Settings) -> None:
    with operations.ready(row, "asyncio", settings) as sample:
        for figures in (sample(), sample()):
            assert figures["per_second"] > 0
            assert set(figures["uses"].values()) <= {"asyncio"}


@pytest.mark.parametrize("key", ["asgi", "aiohttp"])
def test_an_http_server_answers_without_a_loop(key: str, settings: Settings) -> None:
    with http.ready(ROWS[key], "no loop", settings) as sample:
        assert sample()["cpu_us"] > 0


def test_an_import_takes_time_and_a_package_has_a_size(settings: Settings) -> None:
    with imports.ready(ROWS["import"], "asyncio", settings) as sample:
        assert sample()["import_ms"] > 0
    with size.ready(ROWS["wheel"], "tqdm", settings) as sample:
        assert 0 < sample()["mib"] < 1


@pytest.fixture(scope="module")
def backends() -> Iterator[Backends]:
    with Backends() as started:
        yield started


@pytest.mark.parametrize("row", CLIENTS, ids=lambda row: row.key)
def test_every_client_is_answered(row: Row, settings: Settings, backends: Backends) -> None:
    assert row.backend
    try:
        backends.address(row.backend, None)
    except Failed as error:
        if "is not installed" not in str(error):
            raise
        pytest.skip(str(error))
    with operations.ready(row, "asyncio", replace(settings, backends=backends)) as sample:
        assert sample()["per_second"] > 0


def test_a_program_that_is_not_installed_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match=r"no-such-server is not installed.* apt-get install no-such"):
        find("no-such-server", "no-such")


def test_the_programs_that_clients_talk_to_are_stopped() -> None:
    with Backends() as backends:
        try:
            url = backends.address("redis", None)
        except Failed as error:
            pytest.skip(str(error))
        port = int(url.rpartition(":")[2])
        assert accepts(port)
    assert not accepts(port)


def test_nginx_keeps_the_connections_of_all_loops() -> None:
    """A client that finds its connections closed connects anew, which takes longer than its requests."""
    machine.raise_file_limit()
    connections = CONCURRENT * len(FACTORIES)
    with Backends() as backends, ExitStack() as stack, selectors.DefaultSelector() as selector:
        try:
            url = backends.address("nginx", None)
        except Failed as error:
            pytest.skip(str(error))
        port = int(url.strip("/").rpartition(":")[2])
        for _ in range(connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"Hello, world!"):
                data = client.recv(4096)
                assert data
                answer += data
            selector.register(client, selectors.EVENT_READ)
        assert len(selector.select(0)) == 0


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


LACKING = """
import asyncio, sys
from benches import loops
class Loop(asyncio.SelectorEventLoop):
    async def {method}(self, *args, **kwargs):
        raise NotImplementedError("{method}")
loops.FACTORIES["asyncio"] = Loop
sys.argv = ["server", "asyncio"]
from benches.servers import {server}
from benches.servers._serve import serve
serve({server}.start)
"""


@pytest.mark.parametrize(
    ("server", "method", "row"),
    [
        ("protocol", "create_server", "protocol"),
        ("streams_read", "create_server", "streams-read"),
        # These two are called only when the server listens, the last when a connection is there.
        ("sockets", "sock_accept", "sockets"),
        ("sockets", "sock_sendall", "sockets"),
    ],
)
def test_a_loop_that_lacks_a_method_is_not_yet_there(
    server: str, method: str, row: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = python(LACKING.format(server=server, method=method))
    monkeypatch.setattr(echo, "command", lambda *_: command)
    [echoing] = [one for one in ECHO if one.key == row]
    with (
        pytest.raises(NotYet, match=f"NotImplementedError: {method}"),
        echo.ready(echoing, "asyncio", settings) as sample,
    ):
        sample()


def test_a_server_that_breaks_down_has_failed_and_the_reason_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import socket
from benches.say import say
with socket.create_server(("127.0.0.1", 0)) as listener:
    say(port=listener.getsockname()[1])
    connection, _ = listener.accept()
with connection:
    raise RuntimeError("no more")
"""
    monkeypatch.setattr(echo, "command", lambda *_: python(program))
    with (
        echo.ready(ECHO[0], "asyncio", settings) as sample,
        pytest.raises(Failed, match=r"the load .*; the server: RuntimeError: no more"),
    ):
        sample()


def test_a_count_that_breaks_down_has_failed_and_the_reason_is_told() -> None:
    program = """
from benches.say import say
say(rounds=1)
input()
raise RuntimeError("no more")
"""
    with Child(python(program), None) as child:
        for _ in range(2):
            with pytest.raises(Failed, match="RuntimeError: no more"):
                child.ask(PATIENCE)


def test_a_server_that_never_listens_has_failed() -> None:
    with pytest.raises(Failed, match="ModuleNotFoundError"):
        Server(python("import no_such_module"), None).__enter__()


def test_a_server_is_stopped_when_the_block_ends() -> None:
    with Server([sys.executable, "-m", "benches.servers.protocol", "asyncio"], None) as server:
        assert server.port
        os.kill(server.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_program_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Failed, match="took longer"):
        run(python("import time; time.sleep(60)"), None, timeout=0.2)


def test_the_command_lists_its_rows() -> None:
    command = [sys.executable, "-m", "benches", "--list", "--only", "tls"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["tls:", "tls", "tls:", "tls-64k", "tls:", "tls-handshake"]


def test_the_paths_in_the_plan_are_files() -> None:
    for table in TABLES:
        package = Path(__file__).parents[2] / "benches"
        for row in table.rows:
            module = row.program.partition(".")[0]
            folder = {"operations": "operations", "imports": "measure", "size": "measure"}.get(
                table.measure, "servers"
            )
            assert (package / folder / f"{module}.py").is_file()
