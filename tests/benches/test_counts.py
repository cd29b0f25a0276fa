"""Instructions are counted, and the page says whose are how many."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benches import counts, tools
from benches.counts import Work
from benches.measure.outcome import Failed
from benches.measure.settings import Settings
from benches.rows import TABLES
from tests.interpreter import DEBUG_BUILD

# A process takes some ten seconds to start under valgrind; one with a debug build's checks, longer.
pytestmark = pytest.mark.timeout(600)

ROWS = {row.key: (table, row) for table in TABLES for row in table.rows}
ABOUT = dict.fromkeys(
    ("python", "build", "system", "date", "commit", "packages", "rustc", "ferrio")
)


@pytest.fixture
def valgrind(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    monkeypatch.setattr(counts, "SHORT", 0.2)
    monkeypatch.setattr(counts, "LONG", 1.0)


@pytest.mark.usefixtures("valgrind")
@pytest.mark.skipif(DEBUG_BUILD, reason="its own checks would be counted")
def test_an_operation_takes_some_instructions(tmp_path: Path) -> None:
    _, row = ROWS["call-soon"]
    figure = counts.difference(lambda more: counts.operate(row, "asyncio", tmp_path / "file", more))
    assert isinstance(figure, float)
    assert 1_000 < figure < 100_000


@pytest.mark.usefixtures("valgrind")
@pytest.mark.skipif(DEBUG_BUILD, reason="its own checks would be counted")
def test_a_message_takes_a_server_some_instructions(tmp_path: Path) -> None:
    _, row = ROWS["unix-protocol"]
    certificate, trusted = tools.make_certificate(tmp_path)
    made = tools.Tools(tools.build_load(), tools.build_floor(tmp_path), None, certificate, trusted)
    settings = Settings(made, None, None, warm_up=0, seconds=1, allowance=120)

    def count(loop: str) -> float | str:
        file = tmp_path / loop
        return counts.difference(lambda more: counts.serve(row, loop, file, more, settings))

    floor, stdlib = count("C"), count("asyncio")
    assert isinstance(floor, float)
    assert isinstance(stdlib, float)
    assert 50 < floor < stdlib / 10


def work(once: Work, often: Work) -> Callable[[bool], Work]:
    return lambda more: often if more else once


def test_what_both_runs_take_drops_out() -> None:
    assert counts.difference(work((1_000_500, 5), (1_001_500, 15))) == 100


def test_a_failure_is_told_instead_of_a_count(tmp_path: Path) -> None:
    file = tmp_path / "nothing"
    with pytest.raises(Failed, match="written nothing"):
        counts.total(file)
    assert counts.difference(lambda _: (counts.total(file), 1)) == "callgrind has written nothing"


def test_the_page_compares_with_the_best_peer_that_was_counted() -> None:
    table, row = ROWS["sleep-zero"]
    counted: dict[str, float | str] = {
        "asyncio": 9_000,
        "uvloop": 6_000,
        "rloop": "it broke",
        "ferrio": 2_000,
    }
    text = counts.page({table: {row: counted}}, ABOUT)
    assert f"| {row.title} | 9,000 | 6,000 | failed | 2,000 | 3.00 |" in text.splitlines()
    assert f"- rloop: it broke: {row.title}" in text.splitlines()


def test_a_part_of_the_rows_is_counted_on_every_loop_that_suits() -> None:
    spots = counts.plan(["tls"])
    assert {row.key for _, row, _ in spots} == {"tls", "tls-64k", "tls-handshake"}
    assert not any(loop == "C" for _, _, loop in spots)
    everything = {row.key for _, row, _ in counts.plan([])}
    assert "subprocess" not in everything
    assert {"protocol", "queue", "udp-64"} <= everything
