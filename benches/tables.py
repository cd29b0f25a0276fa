"""The Markdown page, from a summary."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benches.loops import OURS

NONE = "\N{EN DASH}"


def page(result: Mapping[str, Any]) -> str:
    """The whole page: what it is, the tables, the plot, the machine, how to repeat it."""
    run, tables = result["run"], result["tables"]
    parts = [
        "# Benchmarks",
        "Written by `make bench`; nothing here is typed. Absolute figures move from machine to "
        "machine and from minute to minute: what counts is a ratio within one run.",
        "![Each loop beside the best peer](benchmarks.svg)",
        *(part for table in tables for part in _table(table)),
        *_notes(tables),
        "## What was measured",
        _method(run),
        "## On what",
        _machine(run["machine"]),
        "## How to repeat it",
        "`make bench`, or `python -m benches` with what is in `requirements/bench.txt`, a release "
        "build of ferrio, cargo, a C compiler and wrk. `--help` tells how to measure less. This "
        f"run was `{' '.join(['python -m benches', *run['arguments']])}`.",
    ]
    return "\n\n".join(parts) + "\n"


def number(value: float | None) -> str:
    """A figure with three digits that count."""
    if value is None:
        return NONE
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def grid(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are figures."""
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *lines))


def _table(table: Mapping[str, Any]) -> list[str]:
    better = "lower" if table["lower_is_better"] else "higher"
    heads = ("", *table["loops"], "best peer", f"{OURS} to the best peer", "target")
    return [
        f"## {table['title']}",
        f"In {table['unit']}; {better} is better. The last two columns say how many times as good "
        f"as the best peer {OURS} is, and is to be.",
        grid(heads, (_line(table, row) for row in table["rows"])),
        *_details(table),
    ]


def _line(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    ratio = NONE if row["ratio"] is None else f"{row['ratio']:.2f}"
    target = NONE if row["target"] is None else f"≥ {row['target']:.2f}"
    figures = [_figure(table, row["cells"].get(loop)) for loop in table["loops"]]
    return [row["title"], *figures, row["best_peer"] or NONE, ratio, target]


def _figure(table: Mapping[str, Any], cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return NONE
    if "absent" in cell:
        return str(cell["absent"])
    return number(cell["median"][table["metric"]] / table["scale"])


def _details(table: Mapping[str, Any]) -> list[str]:
    """Spread, throughput, latency: one line a cell that has figures."""
    lines = []
    for row in table["rows"]:
        for loop in table["loops"]:
            cell = row["cells"].get(loop, {})
            if "median" in cell:
                lines.append([row["title"], loop, *_detail(table, cell)])
    if not lines:
        return []
    heads = ["", "loop", f"lowest to highest ({table['unit']})"]
    if table["key"] == "operations":
        heads.append("CPU an operation (µs)")
    else:
        heads += ["thousands a second", "p50 (µs)", "p99 (µs)", "p99.9 (µs)", "server's core busy"]
    fold = f"<details><summary>{table['title']}: {', '.join(heads[2:])}</summary>"
    return [fold, grid(heads, lines), "</details>"]


def _detail(table: Mapping[str, Any], cell: Mapping[str, Any]) -> list[str]:
    median, scale = cell["median"], table["scale"]
    spread = f"{number(cell['lowest'] / scale)} to {number(cell['highest'] / scale)}"
    if table["key"] == "operations":
        return [spread, number(median["cpu_us"])]
    return [
        spread,
        number(median["per_second"] / 1_000),
        *(number(median["latency_us"][quantile]) for quantile in ("p50", "p99", "p99.9")),
        f"{median['cpu_share']:.0%}",
    ]


def _notes(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why cells are empty, and which names ferrio's cells took from asyncio."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    borrowed: dict[str, list[str]] = {}
    for table in tables:
        for row in table["rows"]:
            for loop, cell in row["cells"].items():
                if "absent" in cell:
                    key = (cell["absent"], loop, cell["reason"])
                    reasons.setdefault(key, []).append(row["title"])
                elif loop == OURS:
                    for name, source in cell["uses"].items():
                        if source != OURS:
                            borrowed.setdefault(name, []).append(row["title"])
    notes = [
        f"- {loop}: {absent} (`{reason}`): "
        + ("all its rows" if absent == "missing" else "; ".join(titles))
        for (absent, loop, reason), titles in reasons.items()
    ]
    notes += [
        f"- {OURS} with asyncio's own `{name}`: {'; '.join(titles)}"
        for name, titles in borrowed.items()
    ]
    return ["## Notes on single cells", "\n".join(notes)] if notes else []


def _method(run: Mapping[str, Any]) -> str:
    load_core = run["load_core"]
    place = f"processor {run['server_core']}, the load to processor {load_core}"
    if load_core is None:
        place = "no processor in particular, because this system doesn't let us"
    elif run["server_core"] == load_core:
        place = f"processor {load_core}, and the load too, because there is no other"
    return (
        f"Rounds: {run['rounds']}. In each, row by row, every loop in turn, beginning with "
        "another one each time; the tables show the medians of the rounds. Each server and each "
        f"count of operations is a process of its own, bound to {place}. Servers are loaded for "
        f"{run['warm_up']} s before they are measured for {run['seconds']} s (HTTP rows: whole "
        "seconds). CPU is user and system time of all the server's threads.\n\n"
        "Echo: ten connections, 1 KiB unless the row says otherwise, each sends its next message "
        "when the last has come back whole and the same, byte for byte; the load generator is "
        "`benches/load`, TLS is its rustls, with an RSA key of 2,048 bits and no session resumed. "
        "The C column is `benches/c/echo.c`: epoll, recv, send, and nothing else. HTTP: wrk with "
        "one thread and 64 connections. Operations: `benches/operations` says of each what one "
        "is."
    )


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in machine["packages"].items()
    )
    gil = "with" if machine["gil"] else "without"
    facts = {
        "date": machine["date"],
        "commit": machine["commit"],
        "processor": f"{machine['processor']}, {machine['processors']} of them",
        "system": machine["system"],
        "load average before the run": machine["load_average"],
        "Python": f"{machine['python']}, {gil} the GIL, {machine['openssl']}",
        "packages": packages,
        "compilers": f"{machine['cc']}; {machine['rustc']}",
        "wrk": machine["wrk"],
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
