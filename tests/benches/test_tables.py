"""The page and the plot say what the summary says."""

import json
from pathlib import Path
from typing import Any

import pytest

from benches import index, plot
from benches.rounds import Cell, Spot
from benches.rows import Row, Table
from benches.summary import summarize
from benches.tables import grid, number, page

LOOPS = ("C", "asyncio", "uvloop", "ferrio")
FIGURES = {
    "cpu_us": 5.0,
    "cpu_share": 0.98,
    "per_second": 200_000.0,
    "latency_us": {"p50": 40.0, "p99": 90.0, "p99.9": 120.0},
    "uses": {},
}


def tables(**cells: Cell) -> list[dict[str, Any]]:
    row = Row("streams", "streams, read", "streams", target=1.5)
    table = Table("echo", "Echo", "echo", "cpu_us", "µs", 1, True, LOOPS, (row,))
    return summarize({Spot(table, row, loop): cell for loop, cell in cells.items()})


def measured(cpu_us: float, **uses: str) -> Cell:
    return Cell([FIGURES | {"cpu_us": cpu_us, "uses": uses}])


def absent(kind: str, reason: str) -> Cell:
    cell = Cell()
    cell.give_up(kind, reason)
    return cell


def written(made: list[dict[str, Any]]) -> str:
    machine = {
        **dict.fromkeys(
            ("date", "commit", "processor", "processors", "system", "load_average", "python")
        ),
        **dict.fromkeys(("openssl", "cc", "rustc", "wrk", "build", "ferrio")),
        "gil": True,
        "packages": {"uvloop": "0.23.0", "rloop": None},
    }
    run = {"arguments": ["--quick"], "rounds": 1, "warm_up": 0.3, "seconds": 0.7}
    cores = {"server_core": 0, "load_core": 1}
    return page({"run": {**run, **cores, "machine": machine}, "tables": made})


def test_a_line_has_every_loop_the_best_peer_the_ratio_and_the_target() -> None:
    made = tables(C=measured(3.74), asyncio=measured(8), uvloop=measured(5), ferrio=measured(4))
    line = "| streams, read | 3.74 | 8.00 | 5.00 | 4.00 | uvloop | 1.25 (1.25 to 1.25) | ≥ 1.50 | missed |"
    assert line in written(made).splitlines()


def test_what_is_missing_or_not_yet_there_is_said_with_its_reason() -> None:
    made = tables(
        asyncio=measured(8),
        uvloop=absent("missing", "ModuleNotFoundError: No module named 'uvloop'"),
        ferrio=absent("not yet", "NotImplementedError: ssl"),
    )
    lines = written(made).splitlines()
    none = "\N{EN DASH}"
    assert (
        f"| streams, read | 8.00 | missing | not yet | asyncio | {none} | ≥ 1.50 | not yet |"
        in lines
    )
    assert any("uvloop: missing (`ModuleNotFoundError: No mod" in line for line in lines)
    assert any("ferrio: not yet (`NotImplementedError: ssl`): streams, read" in x for x in lines)


def test_names_that_ferrio_took_from_asyncio_are_listed() -> None:
    text = written(tables(uvloop=measured(5), ferrio=measured(4, start_server="asyncio")))
    assert "- ferrio with asyncio's own `start_server`: streams, read" in text.splitlines()
    text = written(tables(uvloop=measured(5), ferrio=measured(4, start_server="ferrio")))
    assert "asyncio's own" not in text


def test_throughput_and_latency_stand_in_the_details() -> None:
    text = written(tables(uvloop=measured(5)))
    line = "| streams, read | uvloop | 5.00 to 5.00 | 200 | 40.0 | 90.0 | 120 | 98% |"
    assert line in text.splitlines()


def test_details_have_a_column_for_what_was_measured_and_no_other() -> None:
    text = written(tables(uvloop=measured(5)))
    assert "| threads" not in text
    assert "| loop's share" not in text
    counted = Cell([FIGURES | {"threads": 3, "lost": 7}])
    lines = written(tables(uvloop=counted)).splitlines()
    assert any(line.endswith("| threads | datagrams lost |") for line in lines)
    assert any(line.endswith("| 3 | 7 |") for line in lines)


def test_the_loops_share_is_what_a_request_costs_beyond_the_same_without_a_loop() -> None:
    row = Row("asgi", "bare ASGI", "asgi", target=1.0)
    table = Table("http", "HTTP", "http", "cpu_us", "µs", 1, True, ("no loop", "ferrio"), (row,))
    cells = {"no loop": Cell([{"cpu_us": 20.0, "uses": {}}]), "ferrio": measured(50)}
    made = summarize({Spot(table, row, loop): cell for loop, cell in cells.items()})
    [line] = [
        line for line in written(made).splitlines() if line.startswith("| bare ASGI | ferrio")
    ]
    assert line.endswith("| 60% |")


def test_a_row_is_set_beside_another_of_the_same_loop() -> None:
    few, many = (
        Row("few", "few", "protocol"),
        Row("many", "many", "protocol", beside="few"),
    )
    table = Table(
        "scale", "Scale", "echo", "cpu_us", "µs", 1, True, ("uvloop", "ferrio"), (few, many)
    )
    figures = {(few, "uvloop"): 4, (few, "ferrio"): 2, (many, "uvloop"): 5, (many, "ferrio"): 8}
    made = summarize(
        {Spot(table, row, loop): measured(cpu) for (row, loop), cpu in figures.items()}
    )
    assert "| many, to few | 0.80 | 0.25 |" in written(made).splitlines()


def test_the_index_leads_to_each_version_and_counts_the_targets_that_are_reached(
    tmp_path: Path,
) -> None:
    ours = {"3.9": measured(7), "3.11": absent("failed", "it broke down"), "3.13": measured(3)}
    for version, cell in ours.items():
        (tmp_path / version).mkdir()
        run = {"machine": {"date": "2026-01-02T03:04:05", "commit": "abc"}, "rounds": 7}
        result = {"run": run, "tables": tables(uvloop=measured(6), ferrio=cell)}
        (tmp_path / version / "results.json").write_text(json.dumps(result))
    index.write(tmp_path)
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| [")] == [
        "| [3.13](3.13/README.md) | 2026-01-02 | abc | 7 | 1 | 1 | 0 | 1 reached |",
        "| [3.11](3.11/README.md) | 2026-01-02 | abc | 7 | 0 | 0 | 0 | 1 failed |",
        "| [3.9](3.9/README.md) | 2026-01-02 | abc | 7 | 1 | 0 | 1 | 1 missed |",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.736, "3.74"), (12.44, "12.4"), (137.4, "137"), (5001.2, "5,001"), (None, "\N{EN DASH}")],
)
def test_figures_have_three_digits_that_count(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_grid_is_markdown() -> None:
    assert grid(["", "a"], [["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |"


def test_the_plots_are_written_and_the_same_figures_give_the_same_picture(tmp_path: Path) -> None:
    made = tables(asyncio=measured(8), uvloop=measured(5), ferrio=absent("not yet", "ssl"))
    pictures = []
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        plot.draw(made, directory)
        pictures.append((directory / "echo.svg").read_text())
    assert pictures[0] == pictures[1]
    assert "ferrio: not yet" in pictures[0].replace("<!-- ", "").replace(" -->", "")
