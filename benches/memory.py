"""How much memory a waiting program takes: `python -m benches.memory`, which writes docs/benchmarks/memory.md.

Each figure is what the resident memory of a process of its own grows by while it makes many of a kind, divided by how
many: with everything, the allocators' losses and what is kept for reuse too.
"""

import argparse
import asyncio
import gc
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benches import machine, tables
from benches.loops import FACTORIES, OURS, Names
from benches.measure.process import ROOT
from benches.rounds import find_missing

WHOLE = ROOT / "docs" / "benchmarks"


async def pending_tasks(names: Any, count: int) -> list[object]:
    """Tasks that wait for a future of their own."""
    loop = asyncio.get_running_loop()

    async def wait(future: asyncio.Future[None]) -> None:
        await future

    return [loop.create_task(wait(loop.create_future())) for _ in range(count)]


async def pending_sleeps(names: Any, count: int) -> list[object]:
    """Tasks that sleep."""
    loop = asyncio.get_running_loop()

    async def sleep() -> None:
        await names.sleep(3600)

    return [loop.create_task(sleep()) for _ in range(count)]


async def queues(names: Any, count: int) -> list[object]:
    """Queues that hold one item."""
    made = [names.Queue() for _ in range(count)]
    for queue in made:
        queue.put_nowait(None)
    return made


async def stream_pairs(names: Any, count: int) -> list[object]:
    """A reader and a writer on a connected socket, with the transport and the protocol below them."""
    made: list[object] = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        made.append((await names.open_connection(sock=ours), theirs))
    return made


# What is measured: its title, who makes it, and how many.
KINDS: dict[str, tuple[str, Callable[[Any, int], Awaitable[list[object]]], int]] = {
    "task": ("a pending task, with its coroutine and its future", pending_tasks, 50_000),
    "sleep": ("a task in a pending sleep", pending_sleeps, 50_000),
    "queue": ("a queue that holds an item", queues, 50_000),
    "streams": ("a stream pair, with its transport", stream_pairs, 2_000),
}


def resident() -> int:
    """The bytes of this process that are in memory and no other's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the system doesn't tell the resident memory")


async def grow(kind: str, names: Any) -> float:
    """Make many of a kind, and return the bytes of each."""
    _, make, count = KINDS[kind]
    # A few, so that what is loaded and allocated once is there.
    first = await make(names, 100)
    await asyncio.sleep(0)
    gc.collect()
    before = resident()
    made = await make(names, count)
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    grown = resident() - before
    assert len(first) + len(made) == count + 100
    return grown / count


def child(kind: str, loop: str) -> None:
    """Print the bytes of one of a kind on one of the loops, and end at once."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    bytes_each = FACTORIES[loop]().run_until_complete(grow(kind, Names(loop)))
    print(f"{bytes_each:.1f}", flush=True)
    # What is pending stays so, and nobody is told.
    os._exit(0)


def measure(kind: str, loop: str) -> float:
    """The bytes of one of a kind on one of the loops, from a process of its own."""
    command = [sys.executable, "-m", "benches.memory", "--child", kind, loop]
    words = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(words.split()[0])


def page(figures: dict[str, dict[str, float]], about: dict[str, Any]) -> str:
    """The Markdown page of the figures: for each kind the bytes on each loop."""
    loops = list(next(iter(figures.values())))
    sums = {loop: sum(row[loop] for row in figures.values()) for loop in loops}
    lines = [(KINDS[kind][0], row) for kind, row in figures.items()] + [("the sum", sums)]
    rows = [
        (title, *(f"{row[loop]:,.0f}" for loop in loops), f"{_best_peer(row) / row[OURS]:.2f}")
        for title, row in lines
    ]
    return (
        "\n\n".join(
            [
                "# Memory",
                "Written by `python -m benches.memory`; nothing here is typed. In bytes each: what the resident memory "
                "of a process grows by while it makes many of them, divided by how many. The kernel's part of a socket "
                "is not in it.",
                tables.grid(("", *loops, f"best peer to {OURS}"), rows),
                f"{about['python']} on {about['system']}, {about['date']}, commit {about['commit']}.",
            ]
        )
        + "\n"
    )


def _best_peer(row: dict[str, float]) -> float:
    return min(figure for loop, figure in row.items() if loop != OURS)


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the page. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benches.memory", description=__doc__)
    parser.add_argument("--output", type=Path, default=WHOLE / "memory.md", help="(%(default)s)")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "LOOP"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(*options.child)
        return 0
    if unfit := machine.unfit():
        print(unfit, file=sys.stderr)
        return 2
    missing = find_missing(FACTORIES)
    for loop, reason in missing.items():
        print(f"{loop} is not measured: {reason}", file=sys.stderr)
    loops = [loop for loop in FACTORIES if loop not in missing]
    figures = {kind: {loop: measure(kind, loop) for loop in loops} for kind in KINDS}
    text = page(figures, machine.describe())
    options.output.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
