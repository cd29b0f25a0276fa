"""The size of a package."""

import importlib.metadata
import io
import zipfile
from typing import Any

from benches.measure.settings import Settings
from benches.rows import Row


def measure(_: Row, loop: str, settings: Settings) -> dict[str, Any]:
    """The size of the loop's package, compressed as it is in its wheel, made again from what is
    installed: so it is found for every package alike, wherever its wheel came from."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in importlib.metadata.files(loop) or ():
            if file.suffix != ".pyc":
                archive.write(file.locate(), str(file))
    return {"mib": len(wheel.getvalue()) / 2**20, "uses": {}}
