"""The command: `python -m benches`, from the repository's root."""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benches import index, machine, plot, rounds, tables, tools
from benches.loops import FACTORIES, FLOOR, NO_LOOP, OURS
from benches.measure.backends import Backends
from benches.measure.process import ROOT
from benches.measure.settings import Settings
from benches.renew import difference, renew
from benches.rows import TABLES
from benches.summary import summarize

WHOLE = ROOT / "docs" / "benchmarks"
PARTIAL = ROOT / "build" / "benchmarks"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benches", description="Measure ferrio beside its peers."
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does it work?")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PART",
        help="rows or tables whose key has PART: " + ", ".join(table.key for table in TABLES),
    )
    parser.add_argument("--loops", nargs="+", default=[], choices=[FLOOR, NO_LOOP, *FACTORIES])
    parser.add_argument("--rounds", type=int, help="how often each is measured (3)")
    parser.add_argument(
        "--renew",
        action="store_true",
        help="with --only: put the rows into the page that is there, in the place of the same ones",
    )
    parser.add_argument("--list", action="store_true", help="print the keys of the rows, and stop")
    parser.add_argument(
        "--output",
        type=Path,
        help=f"where the result goes, into {VERSION}/ (docs/benchmarks, but build/benchmarks if any "
        "of the options above makes the run less than the whole)",
    )
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = 1 if options.quick else 3
    if options.rounds < 1:
        parser.error("--rounds is at least 1")
    if options.renew and (options.quick or options.loops or not options.only):
        parser.error("--renew goes with --only, for all loops and not --quick")
    if options.output is None and options.renew:
        options.output = WHOLE
    if options.renew and not (options.output / VERSION / "results.json").exists():
        parser.error(f"no page in {options.output / VERSION} to renew: measure all rows first")
    if options.output is None:
        partial = options.quick or options.only or options.loops
        options.output = PARTIAL if partial else WHOLE
    return options


def main(arguments: Sequence[str]) -> int:
    """Measures, and writes results.json, README.md and the plots. Returns the exit status: 1 if a
    measurement of ferrio failed (that a peer fails is told, and no failure of ours)."""
    options = parse(arguments)
    # A quick run shows whether it works; nothing is compared.
    asked = [replace(table, turns=1) for table in TABLES] if options.quick else TABLES
    rows = [row for row in rounds.plan(asked, options.only, options.loops) if row]
    if options.list or not rows:
        print("\n".join(f"{row[0].table.key}: {row[0].row.key}" for row in rows))
        return 0 if options.list else 2
    unfit = machine.unfit()
    if unfit and OURS in {spot.loop for row in rows for spot in row}:
        print(unfit, file=sys.stderr)
        return 2
    old = None
    if options.renew:
        old = json.loads((options.output / VERSION / "results.json").read_text())
        if told := difference(old["run"]["machine"], machine.describe()):
            print(f"these rows can't be renewed: {told}; measure all of them", file=sys.stderr)
            return 2
    machine.raise_file_limit()
    with tempfile.TemporaryDirectory() as directory, Backends() as backends:
        server_core, load_core = machine.cores()
        settings = Settings(
            tools=tools.make(Path(directory)),
            server_core=server_core,
            load_core=load_core,
            warm_up=0.1,
            seconds=0.3,
            backends=backends,
        )
        run = {
            "arguments": list(arguments),
            "rounds": options.rounds,
            "warm_up": settings.warm_up,
            "seconds": settings.seconds,
            "server_core": server_core,
            "load_core": load_core,
            "machine": machine.describe(),
        }
        cells = rounds.prepare(rows)
        took: defaultdict[str, float] = defaultdict(float)
        turns = sum(spot.table.turns for spot in cells)
        # The same in every run.
        shuffled = random.Random(0)
        # Without smoothing the time that is left is told by all measurements, not by the last.
        with tqdm(total=options.rounds * turns, smoothing=0, dynamic_ncols=True) as bar:
            for number in range(1, options.rounds + 1):
                for row in rows:
                    began = time.monotonic()
                    for spot in rounds.measure(row, cells, settings, shuffled):
                        bar.set_description(
                            f"round {number} of {options.rounds}: {spot.row.title}, {spot.loop}"
                        )
                        bar.update()
                    took[row[0].table.key] += time.monotonic() - began
    run["took"] = took
    result = {"run": run, "tables": summarize(cells)}
    if old is not None:
        result = renew(old, result)
    write(result, options.output / VERSION)
    index.write(options.output)
    print(f"written to {options.output / VERSION}")
    failed = [(spot, cell) for spot, cell in cells.items() if cell.absent == "failed"]
    for spot, cell in failed:
        print(f"failed: {spot.row.title}, {spot.loop}: {cell.reason}", file=sys.stderr)
    return 1 if any(spot.loop == OURS for spot, _ in failed) else 0


def write(result: dict[str, Any], directory: Path) -> None:
    """Writes the result as data, as a page and as plots."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    (directory / "README.md").write_text(tables.page(result))
    plot.draw(result["tables"], directory)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
