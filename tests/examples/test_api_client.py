"""`examples/api_client.py` against the real service, on good days and bad ones."""

import json
import re
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .programs import EXAMPLES, PYTHON, Program, Service, serve_script, serve_uvicorn

Start = Callable[..., Program]


@pytest.fixture(scope="module")
def service(mode: str) -> Iterator[Service]:
    with serve_script(mode) as service:
        yield service


@pytest.fixture
def flaky_service(mode: str) -> Iterator[Service]:
    with serve_uvicorn(mode, "tests.examples.flaky_service:app") as service:
        yield service


@pytest.fixture
def client(mode: str) -> Start:
    """Start the client with these arguments."""
    return lambda *args: Program(*PYTHON[mode], EXAMPLES / "api_client.py", *args)


def counts(program: Program) -> tuple[int, ...]:
    """Return succeeded, failed and retries as the summary tells them."""
    pattern = r"^(\d+) succeeded, (\d+) failed, (\d+) retries$"
    return tuple(map(int, program.out.wait_for(pattern).groups()))


def answers(path: Path) -> list[tuple[int, int]]:
    """Return the number of each request and the number that its answer has."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted((line["n"], line["answer"]["number"]) for line in lines)


def faults(service: Service) -> dict[str, int]:
    with urllib.request.urlopen(service.url + "/faults") as response:
        happened: dict[str, int] = json.load(response)
        return happened


def test_a_thousand_requests(client: Start, service: Service, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    with client(service.url + "/slow/{n}?seconds=0.01", "--output", output) as program:
        program.finish(0)
        assert counts(program) == (1000, 0, 0)
        assert answers(output) == [(n, n) for n in range(1, 1001)]
        assert "1000/1000" in program.err.text  # the progress bar
        latency = r"p50 ([\d.]+), p90 ([\d.]+), p99 ([\d.]+), max ([\d.]+)"
        latencies = [float(ms) for ms in program.out.wait_for(latency).groups()]
        assert latencies == sorted(latencies)
        assert latencies[0] > 9  # ms: the service sleeps for 10


def test_faults_that_pass_are_survived(
    client: Start, flaky_service: Service, tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"
    options = ["--output", output, "--concurrency", 30, "--backoff", 0.01]
    with client(flaky_service.url + "/slow/{n}?seconds=0.01", *options) as program:
        program.finish(0)
        succeeded, failed, retries = counts(program)
        assert (succeeded, failed) == (1000, 0)
        assert answers(output) == [(n, n) for n in range(1, 1001)]
        # 100 numbers end in each digit; the module docstring of the service tells the rest.
        happened = faults(flaky_service)
        assert 1 < happened.pop("at a time") <= 30
        assert happened == {"busy": 400, "cut": 100, "reset": 200, "requests": 1700}
        assert 600 <= retries <= 700  # aiohttp may have repeated 100 of the resets


def test_a_service_that_stays_busy_fails_for_good(client: Start, flaky_service: Service) -> None:
    options = ["--requests", 3, "--retries", 2, "--backoff", 0.01]
    with client(flaky_service.url + "/slow/{n}2", *options) as program:
        program.finish(1)
        assert counts(program) == (0, 3, 6)
        failures = re.findall(r"^failed: .*/slow/(\d+): 503", program.out.text, re.M)
        assert sorted(failures) == ["12", "22", "32"]
    assert faults(flaky_service)["requests"] == 9


def test_what_is_not_there_is_not_asked_for_again(client: Start, service: Service) -> None:
    with client(service.url + "/items/{n}", "--requests", 5) as program:
        program.finish(1)
        assert counts(program) == (0, 5, 0)
        failures = re.findall(r"^failed: .*/items/(\d): 404", program.out.text, re.M)
        assert sorted(failures) == ["1", "2", "3", "4", "5"]


def test_an_attempt_may_time_out(client: Start, service: Service) -> None:
    options = ["--requests", 1, "--timeout", 0.1, "--retries", 1, "--backoff", 0.01]
    with client(service.url + "/slow/1?seconds=60", *options) as program:
        program.finish(1)
        assert counts(program) == (0, 1, 1)
        assert "/slow/1?seconds=60: " in program.out.text


def test_nobody_listens(client: Start) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        options = ["--requests", 4, "--retries", 2, "--backoff", 0.01]
        with client(url, *options) as program:
            program.finish(1)
            assert counts(program) == (0, 4, 8)
            assert program.out.text.count("Cannot connect to host") == 4


def test_ctrl_c_ends_it_with_a_summary(client: Start, service: Service, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    options = ["--requests", 100_000, "--output", output]
    with client(service.url + "/slow/{n}", *options) as program:
        program.err.wait_for(r" [1-9]\d*/100000 ")
        program.send_signal(signal.SIGINT)
        program.finish(130)
        succeeded, failed, retries = counts(program)
        assert 0 < succeeded < 100_000
        assert (failed, retries) == (0, 0)
        assert len(answers(output)) == succeeded


@pytest.mark.parametrize(
    "args", [["ftp://127.0.0.1/"], ["--requests", "0"], ["--concurrency", "many"]]
)
def test_wrong_usage(client: Start, args: list[str]) -> None:
    with client(*args) as program:
        program.finish(2)
        assert "api_client.py: error: argument" in program.err.text
