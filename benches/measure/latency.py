"""A latency row: a server, the load that saturates it, and half of that."""

from typing import Any

from benches.measure import echo
from benches.measure.process import Server
from benches.measure.settings import Settings
from benches.rows import Row


def measure(row: Row, loop: str, settings: Settings) -> dict[str, Any]:
    """The figures of ferrio-load at a fixed rate, half of what the same server did just before in
    the closed loop. A message's time counts from when it was due, so that a server that stalls
    can't hide what it kept waiting. Raises NotYet or Failed."""
    with Server(echo.command(row, loop, settings, None), settings.server_core) as server:
        most = echo.load(row, server, settings, None)["per_second"]
        figures = echo.load(row, server, settings, None, "--rate", str(most / 2))
        return figures | {"p999_us": figures["latency_us"]["p99.9"], "uses": server.uses}
