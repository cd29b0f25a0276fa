"""Counts instructions instead of time: `python -m benches.counts`, which writes counts.md into the folder of the
interpreter in docs/benchmarks.

Each figure is the difference of two runs under valgrind's callgrind, of which one does more than the other, divided
by how much more: what a process takes to start and to end drops out. Only instructions in user space are counted, those
of the interpreter, of the loop and of the program together; the kernel's are not. The figures hardly depend on what
else the machine does, so that two are counted at a time.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from benches import machine, operations, tables, tools
from benches.loops import FLOOR, OURS
from benches.measure import echo
from benches.measure.outcome import Failed, NotYet
from benches.measure.process import ROOT, Server, run
from benches.measure.settings import Settings
from benches.rows import TABLES, Row, Table

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
WHOLE = ROOT / "docs" / "benchmarks" / VERSION / "counts.md"
PARTIAL = ROOT / "build" / "benchmarks" / VERSION / "counts.md"
COUNTED = ("echo", "tls", "unix", "udp", "operations")
"""The keys of the tables; the others measure memory, quantiles, or other programs' Python."""
LEFT_OUT = {"subprocess": "what it takes is not done in the process that is counted"}
ONCE, MORE = 1_000, 6_000
"""How many operations the two runs do, or the least number above that is a whole number of rounds."""
SHORT, LONG = 0.5, 3.0
"""For how many seconds the two runs load a server."""
SLOWER = 100
"""How many times as long a program may take under callgrind."""

Work = tuple[int, float]
"""How many instructions a run took, and how much it did."""
Counts = dict[Table, dict[Row, dict[str, float | str]]]
"""Instructions by loop, or why there are none."""


def callgrind(file: Path) -> list[str]:
    """What a command begins with to have its instructions counted into `file` when it ends.

    With a seed of its own, each process would hash strings to other places, and its start would take some hundred
    thousand instructions more or fewer, which is some percent of what two runs differ by.
    """
    counter = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}"]
    return ["env", "PYTHONHASHSEED=0", *counter]


def total(file: Path) -> int:
    """The instructions that callgrind has counted into `file`. Raises Failed if it has not."""
    for line in file.read_text().splitlines() if file.exists() else ():
        if line.startswith("totals:"):
            return int(line.split()[1])
    raise Failed("callgrind has written nothing")


def operate(row: Row, loop: str, file: Path, more: bool) -> Work:
    """Runs an operation, and returns how often. Raises NotYet or Failed."""
    per_round = operations.PER_ROUND.get(operations.find(row.program), 1)
    rounds = math.ceil(ONCE / per_round) + (math.ceil(MORE / per_round) if more else 0)
    command = [
        *callgrind(file),
        *(sys.executable, "-m", "benches.operations", row.program, loop),
        *("--rounds", str(rounds)),
    ]
    run(command, None, 60.0 * SLOWER)
    return total(file), rounds * per_round


def serve(row: Row, loop: str, file: Path, more: bool, settings: Settings) -> Work:
    """Loads a server, and returns how many messages it got. Raises NotYet or Failed."""
    settings = replace(settings, seconds=LONG if more else SHORT)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "socket") if row.unix else None
        with Server([*callgrind(file), *echo.command(row, loop, settings, path)], None) as server:
            messages = echo.load(row, server, settings, path)["messages"]
    return total(file), messages


def difference(work: Callable[[bool], Work]) -> float | str:
    """The instructions of one of what `work(more)` does, or why there are none."""
    try:
        (few, once), (many, often) = work(False), work(True)
    except (NotYet, Failed) as error:
        return str(error)
    return (many - few) / (often - once)


def plan(only: Iterable[str]) -> list[tuple[Table, Row, str]]:
    """What is counted: rows of the tables, on each of their loops, whose key has one of `only`."""
    parts = tuple(only)
    return [
        (table, row, loop)
        for table in TABLES
        if table.key in COUNTED
        for row in table.rows
        if row.key not in LEFT_OUT
        if not parts or any(part in row.key or part == table.key for part in parts)
        for loop in table.loops
        if row.suits(loop)
    ]


def count(spots: Sequence[tuple[Table, Row, str]], directory: Path) -> Counts:
    """Counts them all; files are written into `directory`."""
    settings = Settings(
        tools=tools.make(directory),
        server_core=None,
        load_core=None,
        warm_up=0,
        seconds=LONG,
    )
    counts: Counts = {}

    def one(number: int) -> float | str:
        table, row, loop = spots[number]
        file = directory / str(number)
        if table.measure == "operations":
            return difference(lambda more: operate(row, loop, file, more))
        return difference(lambda more: serve(row, loop, file, more, settings))

    for table, row, _ in spots:
        counts.setdefault(table, {}).setdefault(row, {})
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        running = {pool.submit(one, number): spot for number, spot in enumerate(spots)}
        for future in tqdm(as_completed(running), total=len(spots), dynamic_ncols=True):
            table, row, loop = running[future]
            counts[table][row][loop] = future.result()
    return counts


def page(counts: Counts, about: Mapping[str, object]) -> str:
    """The Markdown page of the counts."""
    parts = [
        f"# Instructions on {about['python']}",
        "Written by `python -m benches.counts`; nothing here is typed. Instructions in user space, of the interpreter, "
        "the loop and the program together, counted with callgrind: of an operation, or of a server for a message (for "
        "rows that connect: a connection). What the kernel does is not in them. Times are in the [tables](README.md); "
        "these figures tell where a difference comes from, and hardly depend on what else the machine does.",
    ]
    for table, rows in counts.items():
        heads = ["", *table.loops, f"best peer to {OURS}"]
        lines = [_line(table, row, by_loop) for row, by_loop in rows.items()]
        title = table.title.removesuffix(": CPU of the server process a message").removesuffix(
            " a second"
        )
        parts += [f"## {title}", tables.grid(heads, lines)]
    reasons = {
        f"- {loop}: {figure}: {row.title}"
        for rows in counts.values()
        for row, by_loop in rows.items()
        for loop, figure in by_loop.items()
        if isinstance(figure, str)
    }
    parts += [*sorted(reasons), _about(about)]
    return "\n\n".join(parts) + "\n"


def _line(table: Table, row: Row, by_loop: Mapping[str, float | str]) -> list[str]:
    numbers = {loop: figure for loop, figure in by_loop.items() if not isinstance(figure, str)}
    peers = [figure for loop, figure in numbers.items() if loop not in (FLOOR, OURS)]
    ratio = f"{min(peers) / numbers[OURS]:.2f}" if peers and OURS in numbers else tables.NONE
    figures = [
        f"{numbers[loop]:,.0f}"
        if loop in numbers
        else ("failed" if loop in by_loop else tables.NONE)
        for loop in table.loops
    ]
    return [row.title, *figures, ratio]


def _about(about: Mapping[str, object]) -> str:
    build = tables.BUILDS.get(str(about["ferrio"]), tables.NONE)
    return (
        f"{about['python']}, {about['build']}; ferrio {build}; on {about['system']}, {about['date']}, "
        f"commit {about['commit']}; {json.dumps(about['packages'])}; {about['rustc']}."
    )


def main(arguments: Sequence[str]) -> int:
    """Counts, and writes the page. Returns the exit status: 1 if a count of ferrio's failed."""
    parser = argparse.ArgumentParser(prog="python -m benches.counts", description=__doc__)
    parser.add_argument(
        "--output", type=Path, help=f"({WHOLE}, and {PARTIAL} of a part of the rows)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="rows or tables")
    options = parser.parse_args(arguments)
    spots = plan(options.only)
    if not spots:
        parser.error(f"no row and no table is called {' or '.join(options.only)}")
    if unfit := machine.unfit():
        print(unfit, file=sys.stderr)
        return 2
    output: Path = options.output or (PARTIAL if options.only else WHOLE)
    machine.raise_file_limit()
    with tempfile.TemporaryDirectory() as directory:
        counts = count(spots, Path(directory))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(counts, machine.describe()))
    print(f"written to {output}")
    failed = [
        f"{row.title}: {by_loop[OURS]}"
        for rows in counts.values()
        for row, by_loop in rows.items()
        if isinstance(by_loop.get(OURS), str)
    ]
    print(*failed, sep="\n", file=sys.stderr, end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
