"""The page that leads to the results of each version of Python."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from benches.loops import OURS
from benches.tables import NONE, grid

SHOWN = ("echo", "operations")
"""Tables whose plots the page shows, of the newest version."""


def write(directory: Path) -> None:
    """Writes README.md into `directory`, from the results in its folders."""
    found = sorted(directory.glob("*/results.json"), key=_version, reverse=True)
    lines = [_line(file.parent.name, json.loads(file.read_text())) for file in found]
    heads = [
        "CPython",
        "measured",
        "commit",
        "rounds",
        *(f"{OURS}'s {what}" for what in ("rows", "rows ahead", "rows behind", "targets")),
    ]
    counts = [
        f"[{file.parent.name}/counts.md]({file.parent.name}/counts.md)"
        for file in found
        if (file.parent / "counts.md").exists()
    ]
    plots = [
        f"![{table}, on CPython {file.parent.name}]({file.parent.name}/{table}.svg)"
        for file in found[:1]
        for table in SHOWN
        if (file.parent / f"{table}.svg").exists()
    ]
    parts = [
        "# Benchmarks",
        f"Written by `make bench`, which measures {OURS} beside its peers on the interpreter at "
        f"hand. Rows are what was measured of {OURS} and a peer: ahead of the best peer if the "
        "whole interval of the ratio is above 1, behind if it is below, and as good otherwise. A target "
        "says how many times as good as the best peer a row is to be. An interval takes the turns for "
        "independent of each other; those of one round share a process a loop, so that what differs from "
        "process to process shows less in it than it should.",
        grid(heads, lines),
        "[bounds.md](bounds.md) says what bounds the rows that are not ahead, and by which profile; "
        "[memory.md](memory.md) is the memory of tasks, queues and streams."
        + "".join(f" {link} counts instructions." for link in counts),
        *plots,
    ]
    (directory / "README.md").write_text("\n\n".join(parts) + "\n")


def _version(file: Path) -> list[int]:
    return [int(part) for part in file.parent.name.split(".")]


def _line(version: str, result: dict[str, Any]) -> list[str]:
    rows = [row for table in result["tables"] for row in table["rows"]]
    ours = [row["cells"].get(OURS, {}) for row in rows]
    intervals = [cell["interval"] for cell in ours if "interval" in cell]
    came = Counter(row["verdict"] for row in rows if row["verdict"])
    machine = result["run"]["machine"]
    return [
        f"[{version}]({version}/README.md)",
        machine["date"][:10],
        machine["commit"] or NONE,
        str(result["run"]["rounds"]),
        str(len(intervals)),
        str(sum(lowest > 1 for lowest, _ in intervals)),
        str(sum(highest < 1 for _, highest in intervals)),
        ", ".join(f"{count} {verdict}" for verdict, count in came.most_common()),
    ]
