"""What a run is refused for."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from benches import machine


@pytest.mark.parametrize(
    ("build", "newer", "said"),
    [
        (None, None, "not installed: make wheel"),
        ("checked", None, "its own assertions: make wheel"),
        ("release", Path("src/lib.rs"), "src/lib.rs is newer"),
        ("release", None, None),
        ("profiled", None, None),
    ],
)
def test_only_a_build_for_release_of_these_sources_is_measured(
    build: str | None, newer: Path | None, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "build", lambda: build)
    monkeypatch.setattr(machine, "newer_source", lambda: newer)
    unfit = machine.unfit()
    assert unfit is None if said is None else said in str(unfit)


def test_the_build_that_is_tested_says_how_it_was_compiled() -> None:
    assert machine.build() in ("checked", "release", "profiled")


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
    manifest = tmp_path / "Cargo.toml"
    os.utime(source, (0, 0))
    manifest.touch()
    os.utime(manifest, (later, later))
    assert machine.newer_source() == manifest
    manifest.unlink()
    os.utime(source, (later, later))
    # What is no source is built into nothing.
    source.rename(source.with_suffix(".orig"))
    assert machine.newer_source() is None


def test_the_commit_is_told_and_what_differs_from_it(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    source, page = tmp_path / "source", tmp_path / "docs" / "benchmarks" / "page"
    page.parent.mkdir(parents=True)
    source.touch()
    page.touch()
    assert machine.commit(tmp_path) is None
    git("init")
    git("add", ".")
    git("-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "commit", "-m", "first")
    name = machine.commit(tmp_path)
    assert name
    assert len(name) == 12
    # What a run has written is not what the next one measures.
    page.write_text("new")
    assert machine.commit(tmp_path) == name
    source.write_text("new")
    assert machine.commit(tmp_path) == f"{name}-dirty"
