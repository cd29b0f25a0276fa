"""A row of operations: a process that counts them when it is asked."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benches.measure.outcome import Sample
from benches.measure.process import Child
from benches.measure.settings import Settings
from benches.rows import Row


@contextmanager
def ready(row: Row, loop: str, settings: Settings) -> Iterator[Sample]:
    """`benches.operations`, warmed up; a sample is what it prints of one run."""
    command = [
        *(sys.executable, "-m", "benches.operations", row.program, loop),
        *("--seconds", str(settings.seconds)),
    ]
    if row.backend:
        command += ["--backend", settings.backends.address(row.backend, settings.load_core)]
    with Child(command, settings.server_core) as child:
        yield lambda: child.ask(settings.patience)
