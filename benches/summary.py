"""From the figures of all turns to medians and ratios: what the tables and the plot show.

A summary is plain data, as JSON has it, so that tables and plots can be made from it again.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benches import interval
from benches.loops import FLOOR, NO_LOOP, OURS
from benches.rounds import Cell, Spot
from benches.rows import Row, Table


def summarize(cells: Mapping[Spot, Cell]) -> list[dict[str, Any]]:
    """The tables with their rows, each with a cell a loop and what came of ferrio's target."""
    tables: dict[Table, dict[Row, dict[str, Cell]]] = {}
    for spot, cell in cells.items():
        tables.setdefault(spot.table, {}).setdefault(spot.row, {})[spot.loop] = cell
    return [
        {
            "key": table.key,
            "title": table.title,
            "metric": table.metric,
            "unit": table.unit,
            "scale": table.scale,
            "lower_is_better": table.lower_is_better,
            "loops": [loop for loop in table.loops if any(loop in by for by in rows.values())],
            "rows": [_row(table, row, by_loop) for row, by_loop in rows.items()],
        }
        for table, rows in tables.items()
    ]


def median_of(samples: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The median of each figure, also of those in a mapping inside; None where none has it."""
    samples = list(samples)
    medians: dict[str, Any] = {}
    for name, example in samples[0].items():
        values = [sample[name] for sample in samples if sample[name] is not None]
        if isinstance(example, Mapping):
            medians[name] = median_of(values)
        else:
            medians[name] = statistics.median(values) if values else None
    return medians


def times_as_good(table: Mapping[str, Any], figure: float, other: float) -> float:
    """How many times as good `figure` is as `other`: above 1 is better, whatever the unit."""
    return other / figure if table["lower_is_better"] else figure / other


def best_peer(table: Mapping[str, Any], cells: Mapping[str, Any]) -> str | None:
    """The loop with the best median, but for ferrio and what is no loop; None if none was measured."""
    medians = {
        loop: cell["median"][table["metric"]]
        for loop, cell in cells.items()
        if loop not in (FLOOR, NO_LOOP, OURS) and "median" in cell
    }
    choose = min if table["lower_is_better"] else max
    return choose(medians, key=medians.__getitem__, default=None)


def verdict(target: float, between: Sequence[float]) -> str:
    """What an interval of ratios says of the target: "reached" if all of it does, "missed" if nothing of it
    does, "undecided" otherwise."""
    lowest, highest = between
    if lowest >= target:
        return "reached"
    return "missed" if highest < target else "undecided"


def _row(table: Table, row: Row, by_loop: Mapping[str, Cell]) -> dict[str, Any]:
    form = {"metric": table.metric, "lower_is_better": table.lower_is_better}
    cells = {loop: _cell(table, cell) for loop, cell in by_loop.items()}
    ours, best = cells.get(OURS, {}), best_peer(form, cells)
    if best:
        for cell in cells.values():
            if "median" in cell:
                cell |= _compare(form, cell["turns"], cells[best]["turns"])
    on_stdlib = "asyncio" in ours.get("uses", {}).values()
    eased = on_stdlib and row.target_on_stdlib is not None
    target = row.target_on_stdlib if eased else row.target
    came = None
    if target is not None and best:
        came = verdict(target, ours["interval"]) if "interval" in ours else ours.get("absent")
    return {
        "key": row.key,
        "title": row.title,
        "design": row.design,
        "target": target,
        "verdict": came,
        "beside": row.beside,
        "best_peer": best,
        "cells": cells,
    }


def _compare(
    table: Mapping[str, Any], turns: Sequence[Mapping[str, Any]], best: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How many times as good as the best peer: the median of what each turn says, which compares what
    stood beside each other, and how sure that is."""
    metric = table["metric"]
    ratios = [
        times_as_good(table, ours[metric], other[metric])
        for ours, other in zip(turns, best, strict=True)
    ]
    return {"ratio": statistics.median(ratios), "interval": interval.of_median(ratios)}


def _cell(table: Table, cell: Cell) -> dict[str, Any]:
    if cell.absent is not None:
        return {"absent": cell.absent, "reason": cell.reason}
    values = [figures[table.metric] for figures in cell.figures]
    numbers = [
        {name: value for name, value in figures.items() if name != "uses"}
        for figures in cell.figures
    ]
    return {
        "median": median_of(numbers),
        "lowest": min(values),
        "highest": max(values),
        "turns": numbers,
        "uses": cell.figures[0]["uses"],
    }
