"""Counts an operation on a loop: `python -m benches.operations MODULE.NAME LOOP --seconds S`.

Prints `{"per_second": ..., "cpu_us": ..., "threads": ..., "uses": ...}`: the medians of several runs
that fill the time together; `cpu_us` is the CPU time of the process, all its threads, an operation,
and `threads` how many it has at the end (None: not known here).
"""

import argparse
import asyncio
import functools
import importlib
import os
import statistics
import time
from pathlib import Path

from benches.loops import FACTORIES, Names
from benches.operations import PER_ROUND, Rounds
from benches.say import say, say_not_implemented
from benches.servers._serve import settle_allocator

RUNS = 5


def count(
    loop: asyncio.AbstractEventLoop, operate: Rounds, per_round: int, seconds: float
) -> dict[str, float]:
    """Runs the operation RUNS times, about `seconds / RUNS` each, after runs that warm up and find
    out how many rounds such a run has."""

    async def timed(rounds: int) -> tuple[float, float]:
        began, cpu_began = time.perf_counter(), time.process_time()
        await operate(rounds)
        return time.perf_counter() - began, time.process_time() - cpu_began

    rounds, target = 1, seconds / RUNS
    while (took := loop.run_until_complete(timed(rounds))[0]) < target / 2:
        rounds = max(2 * rounds, int(rounds * target / 2 / took))
    rounds = max(1, round(rounds * target / took))
    runs: list[tuple[float, float]] = []
    # An operation whose single round is longer than that is not repeated so often.
    while len(runs) < RUNS and sum(wall for wall, _ in runs) < 2 * seconds:
        runs.append(loop.run_until_complete(timed(rounds)))
    operations = rounds * per_round
    return {
        "per_second": operations / statistics.median(wall for wall, _ in runs),
        "cpu_us": statistics.median(cpu for _, cpu in runs) / operations * 1e6,
    }


def threads() -> int | None:
    """How many threads the process has, whoever started them."""
    tasks = Path("/proc/self/task")
    return len(os.listdir(tasks)) if tasks.exists() else None


def main() -> None:
    settle_allocator()
    parser = argparse.ArgumentParser()
    parser.add_argument("operation")
    parser.add_argument("loop", choices=FACTORIES)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--backend", help="where a client's server listens")
    options = parser.parse_args()
    module, _, name = options.operation.rpartition(".")
    operation = getattr(importlib.import_module(f"benches.operations.{module}"), name)
    try:
        loop = FACTORIES[options.loop]()
        asyncio.set_event_loop(loop)
        names = Names(options.loop)
        if options.backend:
            client = operation(names, options.backend)
            operate = loop.run_until_complete(client.__aenter__())
        else:
            operate = functools.partial(operation, loop, names)
        figures = count(loop, operate, PER_ROUND.get(operation, 1), options.seconds)
        say(**figures, threads=threads(), uses=names.used)
    except NotImplementedError as error:
        say_not_implemented(error)


if __name__ == "__main__":
    main()
