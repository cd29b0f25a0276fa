"""Medians, ratios and targets, from figures that are known."""

from typing import Any

import pytest

from benches.rounds import Cell, Spot, order, plan
from benches.rows import TABLES, Row, Table
from benches.summary import best_peer, median_of, summarize

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


def test_the_median_of_the_rounds_stands_in_the_table() -> None:
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
    assert row["ratio"] == pytest.approx(1.25)


def test_more_operations_than_the_best_peer_is_a_ratio_above_one() -> None:
    made = table(lower_is_better=False)
    row = summary_of(made, asyncio=cell(100.0), uvloop=cell(400.0), ferrio=cell(500.0))
    assert row["best_peer"] == "uvloop"
    assert row["ratio"] == pytest.approx(1.25)


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
    assert row["ratio"] is None
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


def test_the_loops_of_a_row_follow_each_other_in_an_order_that_changes() -> None:
    rows = plan([table(ROW, Row("other", "another", "program"))])
    loops = len(rows[0])
    ordered = [(turn, spot.row.key, spot.loop) for turn, spot in order(rows, 20)]
    assert ordered == [(turn, spot.row.key, spot.loop) for turn, spot in order(rows, 20)]
    blocks = [ordered[start : start + loops] for start in range(0, len(ordered), loops)]
    assert [{(turn, key) for turn, key, _ in block} for block in blocks] == [
        {(turn, key)} for turn in range(1, 21) for key in ("row", "other")
    ]
    orders = [tuple(loop for _, _, loop in block) for block in blocks]
    assert all(set(one) == {spot.loop for spot in rows[0]} for one in orders)
    # Each is somewhere in front, and not always before the same.
    assert len({one[0] for one in orders}) == loops
    assert len(set(orders)) > loops
