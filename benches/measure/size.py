"""The size of a package."""

import importlib.metadata
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from benches.measure.outcome import Sample
from benches.measure.settings import Settings
from benches.rows import Row


@contextmanager
def ready(_: Row, loop: str, settings: Settings) -> Iterator[Sample]:
    """A sample is the size of the loop's package."""
    yield lambda: {"mib": compressed_size(loop) / 2**20, "uses": {}}


def compressed_size(package: str) -> int:
    """The size of a package in bytes, compressed as it is in its wheel, made again from what is
    installed: so it is found for every package alike, wherever its wheel came from."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in importlib.metadata.files(package) or ():
            if file.suffix != ".pyc":
                archive.write(file.locate(), str(file))
    return len(wheel.getvalue())
