"""The time that an import takes."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benches.measure.outcome import Sample
from benches.measure.process import run
from benches.measure.settings import Settings
from benches.rows import Row

PROGRAM = """
import time
began = time.perf_counter()
import {module}
print('{{"import_ms": %f, "uses": {{}}}}' % ((time.perf_counter() - began) * 1e3))
"""


@contextmanager
def ready(_: Row, loop: str, settings: Settings) -> Iterator[Sample]:
    """A sample is a fresh process that imports the loop's package and nothing before."""
    command = (sys.executable, "-c", PROGRAM.format(module=loop))
    yield lambda: run(command, settings.server_core, settings.patience)
