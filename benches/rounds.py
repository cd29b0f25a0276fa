"""The order of the measurements: round by round, and in a round row by row, all loops of a row one
after the other, so that what the machine does meanwhile befalls all of them alike."""

import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benches.loops import FACTORIES
from benches.measure import echo, http, imports, latency, operations, size
from benches.measure.outcome import Failed, NotYet
from benches.measure.process import ROOT
from benches.measure.settings import Settings
from benches.rows import Row, Table

MEASURES = {
    "echo": echo.measure,
    "latency": latency.measure,
    "operations": operations.measure,
    "http": http.measure,
    "imports": imports.measure,
    "size": size.measure,
}


@dataclass
class Cell:
    """A row on a loop: its figures, one of each round, or why it has none."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    absent: str | None = None
    """"missing" (no such loop here), "not yet" (the loop says so), "failed"; None: measured."""
    reason: str | None = None

    def give_up(self, absent: str, reason: object) -> None:
        """Notes why there are no figures, and forgets those that there were."""
        self.absent, self.reason = absent, str(reason)
        self.figures.clear()


@dataclass(frozen=True)
class Spot:
    """Where a cell stands."""

    table: Table
    row: Row
    loop: str


def plan(
    tables: Iterable[Table], only: Sequence[str] = (), loops: Sequence[str] = ()
) -> list[list[Spot]]:
    """The cells to measure, a list a row.

    `only` has parts of the keys of rows or tables, `loops` names of loops; empty means all.
    """
    rows = []
    for table in tables:
        names = [loop for loop in table.loops if not loops or loop in loops]
        for row in table.rows:
            if only and not any(part in key for part in only for key in (table.key, row.key)):
                continue
            usable = [loop for loop in names if row.suits(loop)]
            rows.append([Spot(table, row, loop) for loop in usable])
    return rows


def find_missing(loops: Iterable[str]) -> dict[str, str]:
    """Which of the loops can't be made with this interpreter, and why."""
    missing = {}
    for loop in loops:
        program = f"from benches.loops import FACTORIES; FACTORIES[{loop!r}]().close()"
        tried = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
        )
        if tried.returncode:
            lines = tried.stderr.strip().splitlines()
            missing[loop] = lines[-1] if lines else f"exit status {tried.returncode}"
    return missing


def prepare(rows: Iterable[Sequence[Spot]]) -> dict[Spot, Cell]:
    """The empty cells; those of loops that can't be made are given up already."""
    cells = {spot: Cell() for row in rows for spot in row}
    wanted = {spot.loop for spot in cells}
    missing = find_missing(loop for loop in FACTORIES if loop in wanted)
    for spot, cell in cells.items():
        if spot.loop in missing:
            cell.give_up("missing", missing[spot.loop])
    return cells


def order(rows: Sequence[Sequence[Spot]], rounds: int) -> Iterator[tuple[int, Spot]]:
    """Every spot `rounds` times, with the number of the round, from 1 on. The loops of a row stand in
    an order that is shuffled anew in each round, the same in every run: what changes on the machine
    from one minute to the next befalls none of them more than the others."""
    shuffled = random.Random(0)
    for turn in range(rounds):
        for row in rows:
            for spot in shuffled.sample(row, len(row)):
                yield turn + 1, spot


def measure(spot: Spot, cell: Cell, settings: Settings) -> None:
    """Measures once more what stands at `spot`, unless it was given up."""
    if cell.absent is not None:
        return
    try:
        cell.figures.append(MEASURES[spot.table.measure](spot.row, spot.loop, settings))
    except NotYet as error:
        cell.give_up("not yet", error)
    except Failed as error:
        cell.give_up("failed", error)
