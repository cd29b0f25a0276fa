"""A row of operations: a process that counts them."""

import sys
from typing import Any

from benches.measure.process import run
from benches.measure.settings import Settings
from benches.rows import Row


def measure(row: Row, loop: str, settings: Settings) -> dict[str, Any]:
    """What `benches.operations` prints. Raises NotYet or Failed."""
    command = [
        *(sys.executable, "-m", "benches.operations", row.program, loop),
        *("--seconds", str(settings.seconds)),
    ]
    if row.backend:
        command += ["--backend", settings.backends.address(row.backend, settings.load_core)]
    return run(command, settings.server_core, settings.patience)
