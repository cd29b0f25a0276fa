"""A latency row: a server, and half of the load that saturates the stdlib's loop."""

from typing import Any

from benches.measure import echo
from benches.measure.process import Server
from benches.measure.settings import Settings
from benches.rows import Row

STDLIB = "asyncio"

_rates: dict[str, float] = {}
"""Messages a second of each row, once known."""


def measure(row: Row, loop: str, settings: Settings) -> dict[str, Any]:
    """The figures of ferrio-load at a fixed rate, the same for every loop: half of what the stdlib's did
    in the closed loop when it was first asked for. A message's time counts from when it was due, so that
    a server that stalls can't hide what it kept waiting. Raises NotYet or Failed."""
    if row.key not in _rates:
        with Server(echo.command(row, STDLIB, settings, None), settings.server_core) as server:
            _rates[row.key] = echo.load(row, server, settings, None)["per_second"] / 2
    with Server(echo.command(row, loop, settings, None), settings.server_core) as server:
        figures = echo.load(row, server, settings, None, "--rate", str(_rates[row.key]))
        return figures | {"p999_us": figures["latency_us"]["p99.9"], "uses": server.uses}
