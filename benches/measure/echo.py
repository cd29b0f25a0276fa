"""An echo row: a server, and ferrio-load against it."""

import sys
from pathlib import Path
from typing import Any

from benches.loops import FLOOR
from benches.measure.process import Server, run
from benches.measure.settings import Settings
from benches.rows import Row


def measure(row: Row, loop: str, settings: Settings) -> dict[str, Any]:
    """The figures of ferrio-load, which reads the server's CPU clock at the very start and end of
    the measured time. Raises NotYet or Failed."""
    tools = settings.tools
    with Server(_server(row, loop, settings), settings.server_core) as server:
        command: list[str | Path] = [
            *(tools.load, "--port", str(server.port), "--pid", str(server.pid)),
            *("--warm-up", str(settings.warm_up), "--seconds", str(settings.seconds)),
            *row.load,
        ]
        if row.tls:
            command += ["--tls", tools.trusted]
        figures = run(command, settings.load_core, settings.patience)
        errors = {what: count for what, count in figures.pop("errors").items() if count}
        if errors or not figures["messages"]:
            raise server.explain(f"the load saw {errors or 'no message come back'}")
        return figures | {"uses": server.uses}


def _server(row: Row, loop: str, settings: Settings) -> list[str | Path]:
    if loop == FLOOR:
        return [settings.tools.floor]
    command: list[str | Path] = [sys.executable, "-m", f"benches.servers.{row.program}", loop]
    if row.tls:
        command += ["--certificate", settings.tools.certificate]
    return command
