"""The order of the measurements: round by round, in a round row by row, and in a row all loops in turn,
again and again. Their processes are all there from the beginning of a row to its end, so that a turn is
short and what the machine does meanwhile befalls all of them alike."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benches.loops import FACTORIES
from benches.measure import echo, http, imports, latency, operations, size
from benches.measure.outcome import Failed, NotYet, Sample
from benches.measure.process import ROOT
from benches.measure.settings import Settings
from benches.rows import Row, Table

MEASURES: dict[str, Callable[[Row, str, Settings], AbstractContextManager[Sample]]] = {
    "echo": echo.ready,
    "latency": latency.ready,
    "operations": operations.ready,
    "http": http.ready,
    "imports": imports.ready,
    "size": size.ready,
}
"""What makes a row ready to be measured on a loop, gives what takes one sample, and ends both; both raise
NotYet or Failed."""


@dataclass
class Cell:
    """A row on a loop: its figures, one of each turn, or why it has none."""

    figures: list[dict[str, Any]] = field(default_factory=list)
    absent: str | None = None
    """"missing" (no such loop here), "not yet" (the loop says so), "failed"; None: measured."""
    reason: str | None = None

    def give_up(self, absent: str, reason: object) -> None:
        """Notes why there are no figures, and forgets those that there were."""
        self.absent, self.reason = absent, str(reason)
        self.figures.clear()

    @contextmanager
    def giving_up(self) -> Iterator[None]:
        """Gives up what raises NotYet or Failed in the block."""
        try:
            yield
        except NotYet as error:
            self.give_up("not yet", error)
        except Failed as error:
            self.give_up("failed", error)


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


def measure(
    row: Sequence[Spot], cells: Mapping[Spot, Cell], settings: Settings, shuffled: random.Random
) -> Iterator[Spot]:
    """Measures all loops of a row: as many turns as its table has, in each of them every loop once, in an
    order that is `shuffled` anew, so that none of them profits from its place. Gives each spot when its turn
    comes; those that were given up have no more than that."""
    with ExitStack() as stack:
        samples: dict[Spot, Sample] = {}
        ends: dict[Spot, ExitStack] = {}
        for spot in row:
            if cells[spot].absent is None:
                with cells[spot].giving_up():
                    ready = MEASURES[spot.table.measure](spot.row, spot.loop, settings)
                    ends[spot] = stack.enter_context(ExitStack())
                    samples[spot] = ends[spot].enter_context(ready)
        for _ in range(row[0].table.turns):
            for spot in shuffled.sample(row, len(row)):
                yield spot
                cell = cells[spot]
                if cell.absent is None:
                    with cell.giving_up():
                        cell.figures.append(samples[spot]())
                    if cell.absent is not None:
                        ends[spot].close()  # It would run on beside the others.
