"""Descriptors, objects and memory are the same after a workload as before it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.interpreter import DEBUG_BUILD

# How often each workload is done. One thing left behind each time is far beyond what is allowed below.
WORKLOADS = {
    "connections": 100_000,
    "servers": 2_000,
    "streams": 10_000,
    "unix": 10_000,
    "pipes": 10_000,
    "sockets": 10_000,
    "failures": 500,
    "loops": 500,
    "handles": 1_000_000,
    "jobs": 100_000,
    "timers": 100_000,
    "tasks": 1_000_000,
    "combinators": 2_000,
    "primitives": 5_000,
}

# A debug build is slow. A tenth is enough still.
if DEBUG_BUILD:
    WORKLOADS |= {name: WORKLOADS[name] // 10 for name in ("connections", "handles", "tasks")}

# Caches of the interpreter and of the allocator come and go, some 600 blocks on Python 3.14: less than one block for
# each round, a few pages.
BLOCKS = 900
MEMORY = 3 << 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WORKLOADS)
def test_nothing_is_left(name: str) -> None:
    command = [sys.executable, "-m", "tests.leaks.measure", name, str(WORKLOADS[name])]
    child = subprocess.run(command, stdout=subprocess.PIPE, timeout=550, check=True)
    left = json.loads(child.stdout)
    assert left["descriptors"] == 0
    # A handful of an object is a cache; one for each round is a leak.
    assert {kind: count for kind, count in left["objects"].items() if count > 20} == {}
    assert left["blocks"] < min(BLOCKS, 0.9 * WORKLOADS[name])
    assert left["memory"] < MEMORY


def test_a_loop_left_open_at_the_end_says_nothing() -> None:
    """The interpreter drops it when half of the modules are gone."""
    code = "import asyncio, ferrio; loop = ferrio.new_event_loop(); asyncio.set_event_loop(loop)"
    code += "; loop.run_until_complete(asyncio.sleep(0))"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=True
    )
    assert child.stderr == b""
