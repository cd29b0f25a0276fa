"""The Markdown page, from a summary."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from benches import interval
from benches.loops import NO_LOOP, OURS
from benches.summary import times_as_good

NONE = "\N{EN DASH}"


def page(result: Mapping[str, Any]) -> str:
    """The whole page: what it is, the tables, the plot, the machine, how to repeat it."""
    run, tables = result["run"], result["tables"]
    parts = [
        f"# Benchmarks on {run['machine']['python']}",
        "Written by `make bench`; nothing here is typed. Absolute figures move from machine to "
        "machine and from minute to minute: what counts is a ratio within one run.",
        *(part for table in tables for part in _table(table)),
        *_notes(tables),
        "## What was measured",
        _method(run, {table["key"] for table in tables}),
        "## On what",
        _machine(run["machine"]),
        "## How to repeat it",
        "`make bench`, or `python -m benches` with what is in `requirements/bench.txt`, the wheel "
        "that `make wheel` builds of ferrio, cargo, a C compiler, wrk, nginx, Redis and PostgreSQL. `--help` tells how "
        f"to measure less. This run was `{' '.join(['python -m benches', *run['arguments']])}`.",
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
    heads = ("", *table["loops"], "best peer", f"{OURS} to the best peer", "target", "")
    return [
        f"## {table['title']}",
        f"In {table['unit']}; {better} is better. {OURS} to the best peer: how many times as "
        "good, and between which two figures that is; the target is reached if both are at least that "
        "much, missed if neither is, and undecided otherwise.",
        grid(heads, (_line(table, row) for row in table["rows"])),
        *_beside(table),
        f"![Each loop beside the best peer]({table['key']}.svg)",
        *_details(table),
    ]


def _line(table: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    cells, ratio = row["cells"], NONE
    ours = cells.get(OURS, {})
    if "ratio" in ours:
        lowest, highest = ours["interval"]
        ratio = f"{ours['ratio']:.2f} ({lowest:.2f} to {highest:.2f})"
    target = NONE if row["target"] is None else f"≥ {row['target']:.2f}"
    figures = [_figure(table, cells.get(loop)) for loop in table["loops"]]
    best, came = row["best_peer"] or NONE, row["verdict"] or NONE
    return [row["title"], *figures, best, ratio, target, came]


def _figure(table: Mapping[str, Any], cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return NONE
    if "absent" in cell:
        return str(cell["absent"])
    return number(cell["median"][table["metric"]] / table["scale"])


def _beside(table: Mapping[str, Any]) -> list[str]:
    """For rows that are compared with another row: each loop's figure beside its own there."""
    rows = {row["key"]: row for row in table["rows"]}
    lines = []
    for row in table["rows"]:
        base = rows.get(row.get("beside"))
        if base is None:
            continue
        figures = []
        for loop in table["loops"]:
            ours, own = (_median(table, one["cells"].get(loop)) for one in (row, base))
            figures.append(f"{times_as_good(table, ours, own):.2f}" if ours and own else NONE)
        lines.append([f"{row['title']}, to {base['title']}", *figures])
    if not lines:
        return []
    heads = ["how many times as good as in another row", *table["loops"]]
    return [grid(heads, lines)]


def _median(table: Mapping[str, Any], cell: Mapping[str, Any] | None) -> float | None:
    figure: float | None = (cell or {}).get("median", {}).get(table["metric"])
    return figure


def _details(table: Mapping[str, Any]) -> list[str]:
    """Spread, throughput, latency and more: one line a cell that has figures, and a column for
    whatever any of them has."""
    measured = [
        (row, loop, row["cells"][loop])
        for row in table["rows"]
        for loop in table["loops"]
        if "median" in row["cells"].get(loop, {})
    ]
    if not measured:
        return []
    cells = [(row["title"], loop, _spread(table, cell)) for row, loop, cell in measured]
    facts = [_facts(row, loop, cell["median"]) for row, loop, cell in measured]
    heads = [head for head in FACTS if any(head in fact for fact in facts)]
    heads = [head for head in heads if table["metric"] != FACTS[head]]
    lines = [
        [*cell, *(fact.get(head, NONE) for head in heads)]
        for cell, fact in zip(cells, facts, strict=True)
    ]
    heads = ["", "loop", f"lowest to highest ({table['unit']})", *heads]
    fold = f"<details><summary>{table['title']}: {', '.join(heads[2:])}</summary>"
    return [fold, grid(heads, lines), "</details>"]


FACTS = {
    "CPU (µs)": "cpu_us",
    "thousands a second": "per_second",
    "p50 (µs)": "p50",
    "p99 (µs)": "p99",
    "p99.9 (µs)": "p999_us",
    "server's core busy": "cpu_share",
    "loop's share": "share",
    "threads": "threads",
    "datagrams lost": "lost",
}
"""The columns of details, each with the figure that it shows: in a table that compares by that
figure the column would say the same again."""


def _spread(table: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    scale = table["scale"]
    return f"{number(cell['lowest'] / scale)} to {number(cell['highest'] / scale)}"


def _facts(row: Mapping[str, Any], loop: str, median: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    if median.get("cpu_us") is not None:
        facts["CPU (µs)"] = number(median["cpu_us"])
    if "per_second" in median:
        facts["thousands a second"] = number(median["per_second"] / 1_000)
    for quantile in ("p50", "p99", "p99.9") if "latency_us" in median else ():
        facts[f"{quantile} (µs)"] = number(median["latency_us"][quantile])
    if median.get("cpu_share") is not None:
        facts["server's core busy"] = f"{median['cpu_share']:.0%}"
    bare = row["cells"].get(NO_LOOP, {})
    if "median" in bare and loop != NO_LOOP:
        facts["loop's share"] = f"{1 - bare['median']['cpu_us'] / median['cpu_us']:.0%}"
    if median.get("threads") is not None:
        facts["threads"] = f"{median['threads']:.0f}"
    if median.get("lost"):
        facts["datagrams lost"] = f"{median['lost']:,.0f}"
    return facts


def _notes(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why cells are empty, and which of asyncio's names ferrio's cells took from ferrio, and which from asyncio."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    taken: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for row in table["rows"]:
            for loop, cell in row["cells"].items():
                if "absent" in cell:
                    key = (cell["absent"], loop, cell["reason"])
                    reasons.setdefault(key, []).append(row["title"])
                elif loop == OURS:
                    for name, source in cell["uses"].items():
                        taken.setdefault((source, name), []).append(row["title"])
    notes = [
        f"- {loop}: {absent} (`{reason}`): "
        + ("all its rows" if absent == "missing" else "; ".join(titles))
        for (absent, loop, reason), titles in reasons.items()
    ]
    notes += [
        f"- {OURS} with {source}'s own `{name}`: {'; '.join(titles)}"
        for (source, name), titles in sorted(taken.items())
    ]
    return ["## Notes on single cells", "\n".join(notes)] if notes else []


def _method(run: Mapping[str, Any], measured: Set[str]) -> str:
    load_core = run["load_core"]
    place = f"processor {run['server_core']}, the load to processor {load_core}"
    if load_core is None:
        place = "no processor in particular, because this system doesn't let us"
    elif run["server_core"] == load_core:
        place = f"processor {load_core}, and the load too, because there is no other"
    rounds = (
        f"Rounds: {run['rounds']}. In each, row by row, a process a loop is started, bound to {place}; "
        "then all loops take turns, in an order that is shuffled anew: mostly five times a round, fewer "
        "where a turn is long, and more for the latency. In each turn a server is loaded for "
        f"{run['warm_up']} s before it is measured for {run['seconds']} s (HTTP: warmed up once a round, "
        "whole seconds; operations and clients: warmed up once a round, while it is found out how many take "
        "that long; latency: three times as long). CPU is "
        "user and system time of all the server's threads. The tables show the medians of the turns; a "
        "ratio is the median of the turns' ratios, and the interval behind it holds the median with a "
        f"confidence of {interval.CONFIDENCE:.0%} from six turns on, if each turn is taken for "
        "independent of the others; below six it is from the lowest to the highest."
    )
    ways = (way for keys, way in METHODS if keys & measured)
    return "\n\n".join((rounds, *ways, *_renewed(run), *_took(run)))


METHODS: tuple[tuple[Set[str], str], ...] = (
    (
        {"echo", "tls", "unix", "udp", "scale", "memory", "latency"},
        "Echo: ten connections, 1 KiB unless the row says otherwise, each sends its next message "
        "when the last has come back whole and the same, byte for byte; the load generator is "
        "`benches/load`, TLS is its rustls, with an RSA key of 2,048 bits and no session resumed. "
        "The C column is `benches/c/echo.c`: epoll, recv, send, and nothing else. It waits with a "
        "message that the socket does not take at once, and serves nobody else until then.",
    ),
    ({"udp"}, "UDP: 64 datagrams are on their way at a time."),
    (
        {"scale", "memory"},
        "Scale and memory: each connection has echoed one message before the active ones go on; "
        "the memory is what the server's has grown by when all is done and the connections are "
        "still open.",
    ),
    (
        {"latency"},
        "Latency: messages leave at fixed times, for every loop half as many as the stdlib's "
        "echoed at the beginning in the closed loop, and count from when they were due.",
    ),
    ({"operations"}, "Operations: `benches/operations` says of each what one is."),
    (
        {"clients"},
        "Clients: `benches/operations/client_*`, with nginx, Redis and PostgreSQL on the other "
        "processor.",
    ),
    (
        {"http"},
        "HTTP: wrk with one thread and 64 connections. The column "
        f"{NO_LOOP} is the same server's protocol and application, called by "
        "`benches/servers/_alone.py` without loop, transport and socket: what a request costs "
        "beyond that is the loop's share, the system's sockets included. It is not known where the "
        "endpoint runs in another thread.",
    ),
)
"""What is to be said of the tables with those keys."""


def _renewed(run: Mapping[str, Any]) -> list[str]:
    """What is to be said of the rows that are of a later run than the others."""
    return [
        f"Measured anew in a run of its own, with {note['rounds']} rounds, on {note['date'][:10]} with commit "
        f"{note['commit']} (load average before: {note['load_average']}): {'; '.join(note['rows'].values())}."
        for note in run.get("renewed", ())
    ]


def _took(run: Mapping[str, Any]) -> list[str]:
    took = run.get("took", {})
    rounds = ", ".join(f"{key} {seconds / run['rounds']:.0f}" for key, seconds in took.items())
    return [f"Seconds that a round took, by what `--only` takes: {rounds}."] if took else []


BUILDS = {
    "checked": "with its assertions, which a user's has not",
    "release": "for release, without a profile",
    "profiled": "for release, with a profile of `tools/training.py`",
}
"""What `benches.machine.build` tells, in words."""


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in machine["packages"].items()
    )
    gil = "with" if machine["gil"] else "without"
    facts = {
        "date": machine["date"],
        "commit": machine["commit"],
        "ferrio's build": BUILDS.get(machine["ferrio"], NONE),
        "processor": f"{machine['processor']}, {machine['processors']} of them",
        "system": machine["system"],
        "load average before the run": machine["load_average"],
        "Python": f"{machine['python']}, {gil} the GIL, {machine['build']}, {machine['openssl']}",
        "packages": packages,
        "compilers": f"{machine['cc']}; {machine['rustc']}",
        "wrk": machine["wrk"],
    }
    return "\n".join(f"- {name}: {fact}" for name, fact in facts.items())
