"""Rows that are measured anew take the place of the old ones, and say so."""

from typing import Any

import pytest

from benches.renew import renew
from benches.rounds import Cell, Spot
from benches.rows import Row, Table
from benches.summary import summarize
from benches.tables import page

ROWS = (Row("first", "the first", "streams"), Row("second", "the second", "streams"))


def result(commit: str, *rows: Row, cpu_us: float, **different: Any) -> dict[str, Any]:
    """What a run has found, in which each row took `cpu_us`."""
    table = Table("echo", "Echo", "echo", "cpu_us", "µs", 1, True, ("uvloop", "ferrio"), ROWS)
    figures = {"cpu_us": cpu_us, "cpu_share": 0.9, "per_second": 1.0, "uses": {}}
    figures["latency_us"] = {"p50": 1.0, "p99": 2.0, "p99.9": 3.0}
    spots = {Spot(table, row, loop): Cell([figures]) for row in rows for loop in table.loops}
    machine = {
        **dict.fromkeys(("processor", "processors", "system", "python", "build", "ferrio")),
        **dict.fromkeys(("openssl", "cc", "rustc", "wrk")),
        **{"date": "2026-01-02T03:04:05", "commit": commit, "load_average": 0.5, "gil": True},
        "packages": {"uvloop": "0.23.0", "ferrio": commit},
        **different,
    }
    run = {"arguments": [], "rounds": 2, "warm_up": 0.1, "seconds": 0.3, "machine": machine}
    return {
        "run": {**run, "server_core": 0, "load_core": 1},
        "tables": summarize(spots),
    }


def figures(found: dict[str, Any]) -> dict[str, float]:
    [table] = found["tables"]
    return {row["key"]: row["cells"]["ferrio"]["median"]["cpu_us"] for row in table["rows"]}


def test_a_renewed_row_stands_in_its_old_place() -> None:
    old = result("old", *ROWS, cpu_us=5)
    renewed = renew(old, result("new", ROWS[0], cpu_us=4))
    assert figures(renewed) == {"first": 4, "second": 5}
    assert list(figures(renewed)) == ["first", "second"]
    assert figures(old) == {"first": 5, "second": 5}
    assert renewed["run"]["machine"]["commit"] == "old"
    assert "2026-01-02 with commit new (load average before: 0.5): the first." in page(renewed)


def test_a_row_has_one_note_of_when_it_was_renewed() -> None:
    found = result("old", *ROWS, cpu_us=5)
    found = renew(found, result("new", *ROWS, cpu_us=4))
    found = renew(found, result("newest", ROWS[0], cpu_us=3))
    said = [line for line in page(found).splitlines() if line.startswith("Measured anew")]
    assert [(line.split("commit ")[1][:6], line.split("): ")[1]) for line in said] == [
        ("new (l", "the second."),
        ("newest", "the first."),
    ]


@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"python": "CPython 4"}, "python is not what it was"),
        ({"packages": {"uvloop": "0.24.0", "ferrio": "1"}}, "the packages are not what they were"),
    ],
)
def test_rows_of_another_machine_stand_on_another_page(
    different: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        renew(result("old", *ROWS, cpu_us=5), result("new", ROWS[0], cpu_us=4, **different))


def test_a_row_that_the_page_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no such rows"):
        renew(result("old", ROWS[0], cpu_us=5), result("new", *ROWS, cpu_us=4))
