"""The form of what is measured: tables of rows."""

from dataclasses import dataclass, field

from benches.loops import FLOOR, NO_LOOP


@dataclass(frozen=True)
class Row:
    """One line of a table: something that every loop does."""

    key: str
    title: str
    program: str
    """Which server, or which operation, does it: a module of `benches.servers`, or
    MODULE.NAME in `benches.operations`."""
    load: tuple[str, ...] = ()
    """What the load is told beyond where the server is: arguments for ferrio-load, or the path."""
    tls: bool = False
    unix: bool = False
    """Whether the server listens on a Unix socket."""
    server: tuple[str, ...] = ()
    """Arguments of the server."""
    backend: str | None = None
    """The program that a client talks to: a name of `benches.measure.backends`."""
    design: dict[str, float] = field(default_factory=dict, hash=False)
    """What the design measured on its machine, by loop, in the table's unit."""
    target: float | None = None
    """How many times as good as the best peer ferrio is to be."""
    target_on_stdlib: float | None = None
    """The target for as long as ferrio has not all the names the row uses; None: no other."""
    beside: str | None = None
    """The row of the same table that each loop's own figure is compared with."""
    floor: bool = True
    """Whether there is something to compare with that has no loop, if the table has."""

    def suits(self, loop: str) -> bool:
        """Whether the row can be measured on `loop` at all."""
        return loop not in (FLOOR, NO_LOOP) or (self.floor and not self.tls)


@dataclass(frozen=True)
class Table:
    """Rows that are measured in the same way and compared by the same figure."""

    key: str
    title: str
    measure: str
    """How: a key of `benches.rounds.MEASURES`."""
    metric: str
    """The figure that is compared."""
    unit: str
    scale: float
    """What the figure is divided by to be in that unit."""
    lower_is_better: bool
    loops: tuple[str, ...]
    rows: tuple[Row, ...]
    turns: int = 5
    """How often in a round each loop has its turn, with the same process."""
