"""What a run is refused for."""

import os
import time
from pathlib import Path

import pytest

from benches import machine


def test_a_source_that_is_newer_than_the_build_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    source = tmp_path / "src" / "task" / "task.rs"
    source.parent.mkdir(parents=True)
    source.touch()
    os.utime(source, (0, 0))
    assert machine.newer_source() is None
    later = time.time() + 60
    os.utime(source, (later, later))
    assert machine.newer_source() == source
    # What is no source is built into nothing.
    source.rename(source.with_suffix(".orig"))
    assert machine.newer_source() is None
