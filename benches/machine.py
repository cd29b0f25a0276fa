"""What the figures were measured on, and which processor does what."""

import datetime
import importlib.metadata
import os
import platform
import resource
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from benches.loops import PACKAGES
from benches.measure.process import ROOT

SOURCES = ("src", "crates", "python")
SUFFIXES = (".rs", ".py")
MANIFESTS = ("Cargo.toml", "Cargo.lock", "build.rs")
REPORTED = (*PACKAGES, "uvicorn", "httptools", "fastapi", "aiohttp", "httpx", "redis", "asyncpg")


def cores() -> tuple[int | None, int | None]:
    """The processor for the servers and operations, and the one for the load; the same if there is
    only one, and None where processes can't be bound to one."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


def raise_file_limit() -> None:
    """Lets this process, and all that it starts, open as many files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def newer_source() -> Path | None:
    """A source of ferrio that is newer than what is installed of it, if there is one: the figures would
    be those of another commit."""
    installed = importlib.metadata.files("ferrio") or ()
    built = min(
        Path(file.locate()).stat().st_mtime for file in installed if file.match("_ferrio.*.so")
    )
    sources = (
        file
        for folder in SOURCES
        for file in (ROOT / folder).rglob("*.*")
        if file.suffix in SUFFIXES
    )
    manifests = filter(Path.exists, map(ROOT.joinpath, MANIFESTS))
    return next((file for file in (*manifests, *sources) if file.stat().st_mtime > built), None)


def build() -> str | None:
    """How the ferrio that is installed was compiled: "checked" (with its assertions), "release", or "profiled"
    (with a profile of what it does); None if there is none."""
    try:
        from ferrio._ferrio import __build__
    except ImportError:
        return None
    return __build__


def unfit() -> str | None:
    """Why the ferrio that is installed must not be measured, and what to do; None if it may be."""
    how = build()
    if how is None:
        return "ferrio is not installed: make wheel"
    if how == "checked":
        return "the ferrio that is installed checks its own assertions: make wheel"
    newer = newer_source()
    return f"{newer} is newer than the ferrio that is installed: make wheel" if newer else None


def commit(checkout: Path) -> str | None:
    """The commit of the checkout, "-dirty" behind it if a file differs from it that is not one of the pages which a
    run has written; None without git or its folder."""
    git = ("git", "-C", str(checkout))
    name = _output(*git, "describe", "--always", "--abbrev=12")
    changed = _output(*git, "diff", "--name-only", "HEAD", "--", ".", ":!docs/benchmarks")
    return f"{name}-dirty" if name and changed else name


def describe() -> dict[str, Any]:
    """The machine, its load, and the versions of all that took part."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT),
        "ferrio": build(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "build": _build(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "openssl": ssl.OPENSSL_VERSION,
        "cc": _output("cc", "--version"),
        "rustc": _output("rustc", "--version"),
        "wrk": _output("wrk", "-v"),
        "packages": {name: _version(name) for name in REPORTED},
    }


def _build() -> str:
    """How the interpreter was compiled: what of a program is Python runs a tenth faster and more with the profile."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    ways = {
        "--enable-optimizations": "profile-guided optimisation",
        "--with-lto": "link-time optimisation",
    }
    return "configured " + ", ".join(
        f"{'with' if way in options else 'without'} {ways[way]}" for way in ways
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """The first line that a program prints about itself; None if it can't be run or only complains."""
    try:
        # wrk prints its version and exits with an error.
        outcome = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    lines = outcome.stdout.splitlines()
    return lines[0] if lines else None
