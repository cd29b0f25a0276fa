"""An echo row: a server, and ferrio-load against it."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches.loops import FLOOR
from benches.measure.outcome import Failed, Sample
from benches.measure.process import Server, run
from benches.measure.settings import Settings
from benches.rows import Row


@contextmanager
def ready(row: Row, loop: str, settings: Settings) -> Iterator[Sample]:
    """A server; a sample is the figures of ferrio-load, which reads the server's CPU clock at the
    very start and end of the measured time."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "socket") if row.unix else None
        with Server(command(row, loop, settings, path), settings.server_core) as server:
            yield lambda: load(row, server, settings, path) | {"uses": server.uses}


def load(
    row: Row, server: Server, settings: Settings, path: Path | None, *options: str
) -> dict[str, Any]:
    """What ferrio-load says of `server`, which listens on the Unix socket `path` if that is given.
    Raises NotYet or Failed."""
    tools = settings.tools
    words: list[str | Path] = [
        *(tools.load, "--pid", str(server.pid)),
        *(("--unix", path) if path else ("--port", str(server.port))),
        *("--warm-up", str(settings.warm_up), "--seconds", str(settings.seconds)),
        *(*row.load, *options),
    ]
    if row.tls:
        words += ["--tls", tools.trusted]
    try:
        figures = run(words, settings.load_core, settings.patience)
    except Failed as error:
        # The load fails where it finds no server any more to read the clock of.
        raise server.explain(f"the load failed ({error})") from error
    errors = {what: count for what, count in figures.pop("errors").items() if count}
    if errors or not figures["messages"]:
        raise server.explain(f"the load saw {errors or 'no message come back'}")
    return figures


def command(row: Row, loop: str, settings: Settings, path: Path | None) -> list[str | Path]:
    """The server of the row on the loop."""
    if loop == FLOOR:
        return [settings.tools.floor, *([path] if path else [])]
    words: list[str | Path] = [sys.executable, "-m", f"benches.servers.{row.program}", loop]
    words += row.server
    if row.tls:
        words += ["--certificate", settings.tools.certificate]
    if path:
        words += ["--unix", path]
    return words
