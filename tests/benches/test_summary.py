"""Medians, ratios and targets, from figures that are known."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from benches import interval
from benches.measure.outcome import Failed, Sample
from benches.measure.settings import Settings
from benches.rounds import MEASURES, Cell, Spot, measure, plan
from benches.rows import TABLES, Row, Table
from benches.summary import best_peer, median_of, summarize, verdict

ROW = Row("row", "a row", "program", target=1.5)


def table(*rows: Row, lower_is_better: bool = True) -> Table:
    loops = ("C", "asyncio", "uvloop", "ferrio")
    return Table("echo", "Echo", "echo", "cpu_us", "µs", 1, lower_is_better, loops, rows or (ROW,))


def cell(*values: float, uses: dict[str, str] | None = None) -> Cell:
    return Cell([{"cpu_us": value, "uses": uses or {}} for value in values])


def summary_of(made: Table, **cells: Cell) -> dict[str, Any]:
    [summary] = summarize({Spot(made, made.rows[0], loop): one for loop, one in cells.items()})
    [row] = summary["rows"]
    assert isinstance(row, dict)
    return row


def test_the_median_of_the_turns_stands_in_the_table() -> None:
    row = summary_of(table(), uvloop=cell(9.0, 4.0, 5.0))
    assert row["cells"]["uvloop"]["median"]["cpu_us"] == 5.0
    assert (row["cells"]["uvloop"]["lowest"], row["cells"]["uvloop"]["highest"]) == (4.0, 9.0)


def test_median_of_takes_mappings_apart_and_leaves_out_what_was_not_measured() -> None:
    samples = [
        {"per_second": 1, "latency_us": {"p50": 10, "p99": None}, "cpu_us": None},
        {"per_second": 3, "latency_us": {"p50": 30, "p99": 7}, "cpu_us": None},
        {"per_second": 2, "latency_us": {"p50": 20, "p99": 9}, "cpu_us": None},
    ]
    assert median_of(samples) == {
        "per_second": 2,
        "latency_us": {"p50": 20, "p99": 8},
        "cpu_us": None,
    }


def test_less_cpu_than_the_best_peer_is_a_ratio_above_one() -> None:
    row = summary_of(table(), asyncio=cell(8.0), uvloop=cell(5.0), ferrio=cell(4.0))
    assert row["best_peer"] == "uvloop"
    assert row["cells"]["ferrio"]["ratio"] == pytest.approx(1.25)


def test_more_operations_than_the_best_peer_is_a_ratio_above_one() -> None:
    made = table(lower_is_better=False)
    row = summary_of(made, asyncio=cell(100.0), uvloop=cell(400.0), ferrio=cell(500.0))
    assert row["best_peer"] == "uvloop"
    assert row["cells"]["ferrio"]["ratio"] == pytest.approx(1.25)


def test_what_stood_beside_each_other_is_compared() -> None:
    # The machine is slower from turn to turn, for both alike.
    row = summary_of(table(), uvloop=cell(10.0, 20.0, 60.0), ferrio=cell(5.0, 10.0, 40.0))
    ours = row["cells"]["ferrio"]
    assert (ours["ratio"], ours["interval"]) == (2.0, (1.5, 2.0))
    assert row["cells"]["uvloop"]["interval"] == (1.0, 1.0)
    assert row["verdict"] == "reached"


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((1.5, 1.6), "reached"),
        ((1.4, 1.6), "undecided"),
        ((1.4, 1.5), "undecided"),
        ((1.3, 1.49), "missed"),
    ],
)
def test_a_target_is_decided_by_the_whole_interval(
    between: tuple[float, float], expected: str
) -> None:
    assert verdict(1.5, between) == expected


@pytest.mark.parametrize(
    ("count", "between"),
    # The tables of the sign test: 95 % at least, and no narrower interval has as much.
    [
        (1, (1, 1)),
        (5, (1, 5)),
        (6, (1, 6)),
        (8, (1, 8)),
        (9, (2, 9 - 1)),
        (15, (4, 12)),
        (25, (8, 18)),
    ],
)
def test_the_interval_of_a_median(count: int, between: tuple[float, float]) -> None:
    assert interval.of_median([float(n) for n in range(count, 0, -1)]) == between


def test_neither_what_is_no_loop_nor_ferrio_is_a_peer() -> None:
    figures = {"C": 1, "no loop": 1, "ferrio": 2, "rloop": 3}
    cells = {loop: {"median": {"cpu_us": cpu}} for loop, cpu in figures.items()}
    form = {"metric": "cpu_us", "lower_is_better": True}
    assert best_peer(form, cells) == "rloop"
    del cells["rloop"]
    assert best_peer(form, cells) is None


def test_without_figures_of_ferrio_there_is_no_ratio_but_the_reason() -> None:
    ours = cell(1.0)
    ours.give_up("not yet", NotImplementedError("create_server(ssl=...)"))
    row = summary_of(table(), uvloop=cell(5.0), ferrio=ours)
    assert row["verdict"] == "not yet"
    assert row["cells"]["ferrio"] == {"absent": "not yet", "reason": "create_server(ssl=...)"}


@pytest.mark.parametrize(("source", "target"), [("asyncio", 1.6), ("ferrio", 2.5)])
def test_a_target_is_eased_only_where_ferrio_ran_on_the_stdlibs_names(
    source: str, target: float
) -> None:
    row = Row("sleep", "await sleep(0)", "sleep", target=2.5, target_on_stdlib=1.6)
    ours = cell(1.0, uses={"sleep": source})
    assert summary_of(table(row), ferrio=ours)["target"] == target


def test_the_designs_targets_in_microseconds_become_ratios_to_its_best_peer() -> None:
    rows = {row.key: row for made in TABLES for row in made.rows}
    assert rows["protocol"].target == pytest.approx(4.00 / 3.95)
    assert rows["streams-64k"].target == pytest.approx(25.2 / 17)
    assert rows["tls-handshake"].target == pytest.approx(675 / 640)


def test_every_row_has_a_key_of_its_own_and_what_it_is_compared_with() -> None:
    rows = [row for made in TABLES for row in made.rows]
    assert len({row.key for row in rows}) == len(rows)
    for made in TABLES:
        keys = {row.key for row in made.rows}
        assert {row.beside for row in made.rows} - {None} <= keys


def test_the_plan_leaves_out_what_was_not_asked_for_and_what_does_not_suit() -> None:
    planned = [spot for row in plan(TABLES) for spot in row]
    assert {spot.row for spot in planned} == {row for made in TABLES for row in made.rows}
    loopless = {spot.row.key for spot in planned if spot.loop in ("C", "no loop")}
    assert {"protocol", "unix-streams", "scale-idle", "asgi"} <= loopless
    assert not {"tls", "scale-timers", "fastapi-sync", "udp-64", "gather"} & loopless
    [row] = plan(TABLES, only=["tls-64k"], loops=["C", "uvloop", "ferrio"])
    assert [spot.loop for spot in row] == ["uvloop", "ferrio"]
    assert {row[0].table.key for row in plan(TABLES, only=["udp"])} == {"udp"}


def test_each_turn_has_every_loop_once_in_an_order_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: list[str] = []
    seen: list[str] = []

    @contextmanager
    def ready(_row: Row, loop: str, _settings: object) -> Iterator[Sample]:
        def sample() -> dict[str, Any]:
            assert len(running) == 4  # None ends before all have had their turns.
            seen.append(loop)
            return {"cpu_us": float(len(seen)), "uses": {}}

        running.append(loop)
        yield sample
        running.remove(loop)

    monkeypatch.setitem(MEASURES, "echo", ready)
    [row] = plan([replace(table(), turns=20)])
    cells = {spot: Cell() for spot in row}
    told = list(measure(row, cells, cast(Settings, None), random.Random(0)))
    assert [spot.loop for spot in told] == seen
    assert not running
    turns = [tuple(seen[start : start + len(row)]) for start in range(0, len(seen), len(row))]
    assert len(turns) == 20
    assert all(set(turn) == {spot.loop for spot in row} for turn in turns)
    # Each is somewhere in front, and not always before the same.
    assert len({turn[0] for turn in turns}) == len(row)
    assert len(set(turns)) > len(row)
    assert [len(cell.figures) for cell in cells.values()] == [20] * len(row)


@pytest.mark.parametrize("when", ["ready", "sample"])
def test_a_loop_that_fails_is_given_up_and_the_others_go_on(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ended: list[tuple[str, int]] = []

    @contextmanager
    def ready(_row: Row, loop: str, _settings: object) -> Iterator[Sample]:
        def sample() -> dict[str, Any]:
            asked.append(loop)
            if loop == "uvloop" and asked.count(loop) == 2:
                raise Failed("no more")
            return {"cpu_us": 1.0, "uses": {}}

        if loop == "uvloop" and when == "ready":
            raise Failed("no more")
        yield sample
        ended.append((loop, len(asked)))

    monkeypatch.setitem(MEASURES, "echo", ready)
    [row] = plan([table()])
    cells = {spot: Cell() for spot in row}
    list(measure(row, cells, cast(Settings, None), random.Random(0)))
    came = {
        spot.loop: (len(cell.figures), cell.absent, cell.reason) for spot, cell in cells.items()
    }
    others = dict.fromkeys(("C", "asyncio", "ferrio"), (5, None, None))
    assert came == {**others, "uvloop": (0, "failed", "no more")}
    assert asked.count("uvloop") == (2 if when == "sample" else 0)
    # It doesn't run on beside the others, who all run to the end.
    assert {loop for loop, turns in ended if turns == len(asked)} == {"C", "asyncio", "ferrio"}
