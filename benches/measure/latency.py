"""A latency row: a server, and half of the load that saturates the stdlib's loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benches.measure import echo
from benches.measure.outcome import Sample
from benches.measure.process import Server
from benches.measure.settings import Settings
from benches.rows import Row

STDLIB = "asyncio"
LONGER = 3
"""How many times as long as others a sample is: of a thousand messages one is what is looked for."""

_rates: dict[str, float] = {}
"""Messages a second of each row, once known."""


@contextmanager
def ready(row: Row, loop: str, settings: Settings) -> Iterator[Sample]:
    """A server; a sample is the figures of ferrio-load at a fixed rate, the same for every loop: half of
    what the stdlib's did in the closed loop when it was first asked for. A message's time counts from when
    it was due, so that a server that stalls can't hide what it kept waiting."""
    longer = replace(settings, seconds=settings.seconds * LONGER)
    if row.key not in _rates:
        with Server(echo.command(row, STDLIB, settings, None), settings.server_core) as server:
            _rates[row.key] = echo.load(row, server, longer, None)["per_second"] / 2
    with Server(echo.command(row, loop, settings, None), settings.server_core) as server:

        def sample() -> dict[str, Any]:
            figures = echo.load(row, server, longer, None, "--rate", str(_rates[row.key]))
            return figures | {"p999_us": figures["latency_us"]["p99.9"], "uses": server.uses}

        yield sample
