"""The time that an import takes."""

import statistics
import sys
from typing import Any

from benches.measure.process import run
from benches.measure.settings import Settings
from benches.rows import Row

PROCESSES = 11
PROGRAM = """
import time
began = time.perf_counter()
import {module}
print('{{"ms": %f}}' % ((time.perf_counter() - began) * 1e3))
"""


def measure(_: Row, loop: str, settings: Settings) -> dict[str, Any]:
    """The median of several fresh processes that import the loop's package and nothing before.
    Raises Failed."""
    command = (sys.executable, "-c", PROGRAM.format(module=loop))
    took = [run(command, settings.server_core, settings.patience)["ms"] for _ in range(PROCESSES)]
    return {"import_ms": statistics.median(took), "uses": {}}
