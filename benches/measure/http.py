"""An HTTP row: a server, and wrk against it."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches.loops import NO_LOOP
from benches.measure.outcome import Failed, Sample
from benches.measure.process import Server, run
from benches.measure.settings import Settings
from benches.rows import Row

CONNECTIONS = 64
SCRIPT = Path(__file__).with_name("wrk.lua")


@contextmanager
def ready(row: Row, loop: str, settings: Settings) -> Iterator[Sample]:
    """A server; a sample is the figures of wrk, whose seconds are whole ones, with the CPU time of the
    server while it ran; without a loop, what `benches.servers._alone` prints."""
    command = [sys.executable, "-m", f"benches.servers.{row.program}", loop]
    if loop == NO_LOOP:
        command += ["--path", row.load[0], "--seconds", str(settings.seconds)]
        yield lambda: run(command, settings.server_core, settings.patience)
        return
    with Server(command, settings.server_core) as server:
        _load(row, settings, server, settings.warm_up)

        def sample() -> dict[str, Any]:
            began = server.cpu_seconds()
            figures = _load(row, settings, server, settings.seconds)
            cpu = server.cpu_seconds() - began
            figures["per_second"] = figures["messages"] / figures["seconds"]
            figures["cpu_us"] = cpu / figures["messages"] * 1e6
            figures["cpu_share"] = cpu / figures["seconds"]
            return figures | {"uses": server.uses}

        yield sample


def _load(row: Row, settings: Settings, server: Server, seconds: float) -> dict[str, Any]:
    wrk = settings.tools.wrk
    if wrk is None:
        raise Failed("wrk is not installed; on Debian: apt-get install wrk")
    command: list[str | Path] = [
        *(wrk, "--threads", "1", "--connections", str(CONNECTIONS)),
        *("--duration", f"{math.ceil(seconds)}s", "--script", SCRIPT),
        f"http://127.0.0.1:{server.port}{row.load[0]}",
    ]
    figures = run(command, settings.load_core, settings.patience)
    errors = {what: count for what, count in figures.pop("errors").items() if count}
    if errors or not figures["messages"]:
        raise server.explain(f"wrk saw {errors or 'no answer'}")
    return figures
