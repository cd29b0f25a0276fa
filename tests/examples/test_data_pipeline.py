"""`examples/data_pipeline.py`: what it computes, what it holds back, and how it stops."""

import csv
import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from .programs import EXAMPLES, PYTHON, Program

Start = Callable[..., Program]
Totals = dict[str, int | None]

HEADER = "id,currency,quantity,unit_price\n"
CENTS_IN = {"EUR": Fraction(100), "USD": 100 / Fraction("1.08"), "GBP": 100 / Fraction("0.85")}
CENTS_IN["JPY"] = Fraction(100, 162)


@pytest.fixture
def pipeline(mode: str) -> Start:
    """Start the pipeline with these arguments."""
    return lambda *args: Program(*PYTHON[mode], EXAMPLES / "data_pipeline.py", *args)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three files of orders, made by the example itself."""
    folder = tmp_path_factory.mktemp("orders")
    paths = [folder / f"{name}.csv" for name in ("north", "south", "west")]
    for seed, path in enumerate(paths):
        options = ["generate", path, "--rows", 5000, "--seed", seed]
        with Program(*PYTHON["asyncio"], EXAMPLES / "data_pipeline.py", *options) as program:
            program.finish()
    return paths


def expected_cents(paths: list[Path]) -> Totals:
    """Compute each order's total in cents, None for a wrong one, in the order of the files."""
    totals: Totals = {}
    for path in paths:
        with path.open(newline="") as file:
            for order in csv.DictReader(file):
                totals[order["id"]] = None
                if order["quantity"].isdigit():
                    amount = Fraction(order["unit_price"]) * int(order["quantity"])
                    totals[order["id"]] = round(amount * CENTS_IN[order["currency"]])
    return totals


def written_cents(text: str) -> Totals:
    """Return what the pipeline has written, as `expected_cents` does; each order once."""
    lines = [json.loads(line) for line in text.splitlines()]
    assert Counter(line["id"] for line in lines).most_common(1)[0][1] == 1
    return {
        line["id"]: None if "error" in line else int(line["total"].replace(".", ""))
        for line in lines
    }


def counts(program: Program) -> tuple[int, ...]:
    """Return accepted, written, rejected and peak as the summary tells them."""
    pattern = r"^accepted (\d+), written (\d+), of which (\d+) rejected; at most (\d+) in flight$"
    return tuple(map(int, program.err.wait_for(pattern).groups()))


def test_the_generator_repeats_itself_for_a_seed_only(
    orders: list[Path], pipeline: Start, tmp_path: Path
) -> None:
    north = orders[0]
    for seed in (0, 1):
        with pipeline("generate", tmp_path / north.name, "--rows", 5000, "--seed", seed) as program:
            program.finish()
        same = (tmp_path / north.name).read_bytes() == north.read_bytes()
        assert same == (seed == 0)


@pytest.mark.parametrize("workers", [1, 8])
def test_every_order_is_priced(
    pipeline: Start, orders: list[Path], tmp_path: Path, workers: int
) -> None:
    output = tmp_path / "totals.jsonl"
    with pipeline("run", *orders, "--output", output, "--workers", workers) as program:
        program.finish(0)
        expected = expected_cents(orders)
        rejected = sum(total is None for total in expected.values())
        assert rejected > 0
        assert written_cents(output.read_text()) == expected
        assert counts(program)[:3] == (15_000, 15_000, rejected)


def test_no_stage_runs_ahead_of_the_next(pipeline: Start, orders: list[Path]) -> None:
    queue_size, workers = 5, 2
    options = ["--queue-size", queue_size, "--workers", workers]
    with pipeline("run", *orders, *options) as program:
        program.finish(0)
        peak = counts(program)[3]
        # Two full queues, an order a worker, and a batch that is one longer than a queue.
        assert queue_size < peak <= 3 * queue_size + workers + 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_what_has_been_accepted_survives_a_signal(
    pipeline: Start, orders: list[Path], signum: signal.Signals
) -> None:
    # Uninterrupted it would take three minutes.
    with pipeline("run", *orders, "--lookup-seconds", 0.1) as program:
        program.out.wait_for_lines(20)
        program.send_signal(signum)
        program.err.wait_for("stopping")
        program.finish(128 + signum)
        accepted, written, _, _ = counts(program)
        assert 20 <= accepted == written < 15_000
        result = written_cents(program.out.text)
        assert len(result) == written
        # Of each file it is the first so many orders.
        of_file = Counter(order_id.split("-")[0] for order_id in result)
        expected = expected_cents(orders)
        assert result == {
            order_id: total
            for order_id, total in expected.items()
            if int(order_id.split("-")[1]) <= of_file[order_id.split("-")[0]]
        }


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(
    pipeline: Start, tmp_path: Path, signum: signal.Signals
) -> None:
    orders = tmp_path / "orders.csv"
    orders.write_text(HEADER + "wrong,EUR,many,1\n" + "endless,EUR,1,1\n")
    with pipeline("run", orders, "--lookup-seconds", 3600) as program:
        program.out.wait_for('"wrong"')
        program.send_signal(signum)
        program.err.wait_for("stopping")
        program.send_signal(signum)
        program.finish(128 + signum)
        assert "given up" in program.err.text
        assert counts(program)[:3] == (2, 1, 1)


def test_a_writer_that_fails_ends_all_stages(pipeline: Start, tmp_path: Path) -> None:
    # By the time that the first result fails to be written, all else waits: the other workers
    # for a rate, the producer for room.
    orders = tmp_path / "orders.csv"
    orders.write_text(HEADER + "wrong,EUR,many,1\n" + "endless,EUR,1,1\n" * 1000)
    options = ["--output", "/dev/full", "--lookup-seconds", 3600]
    with pipeline("run", orders, *options) as program:
        assert program.wait() == 1
        assert "No space left on device" in program.err.text
        assert not re.search("never retrieved|was destroyed", program.err.text)


def test_a_file_that_is_not_there(pipeline: Start, tmp_path: Path) -> None:
    with pipeline("run", tmp_path / "nothing.csv") as program:
        program.finish(2)
        assert "no such file" in program.err.text
