"""Counts an operation on a loop: `python -m benches.operations MODULE.NAME LOOP --seconds S`.

Warms up, finds out how many rounds take about that long, and prints how many. From then on it runs
them for each line that it reads, and prints `{"per_second": ..., "cpu_us": ..., "threads": ..., "uses": ...}`:
`cpu_us` is the CPU time of the process, all its threads, an operation, and `threads` how many it has
at the end (None: not known here). With `--rounds N` it runs so many, for what counts something else.
"""

import argparse
import asyncio
import functools
import os
import sys
import time
from pathlib import Path

from benches.loops import FACTORIES, Names
from benches.operations import PER_ROUND, Rounds, find
from benches.say import say, say_not_implemented
from benches.servers._serve import settle_allocator


async def timed(operate: Rounds, rounds: int) -> tuple[float, float]:
    """The seconds that so many rounds take, and those of CPU time."""
    began, cpu_began = time.perf_counter(), time.process_time()
    await operate(rounds)
    return time.perf_counter() - began, time.process_time() - cpu_began


def fill(loop: asyncio.AbstractEventLoop, operate: Rounds, seconds: float) -> int:
    """How many rounds take about `seconds`; at least one."""
    rounds = 1
    while (took := loop.run_until_complete(timed(operate, rounds))[0]) < seconds / 2:
        rounds = max(2 * rounds, int(rounds * seconds / 2 / took))
    return max(1, round(rounds * seconds / took))


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
    parser.add_argument("--rounds", type=int, help="run so many at once, and end")
    parser.add_argument("--backend", help="where a client's server listens")
    options = parser.parse_args()
    operation = find(options.operation)
    try:
        loop = FACTORIES[options.loop]()
        asyncio.set_event_loop(loop)
        names = Names(options.loop)
        if options.backend:
            client = operation(names, options.backend)
            operate = loop.run_until_complete(client.__aenter__())
        else:
            operate = functools.partial(operation, loop, names)
        if options.rounds:
            loop.run_until_complete(operate(options.rounds))
            say(rounds=options.rounds)
            return
        rounds = fill(loop, operate, options.seconds)
        say(rounds=rounds)
        operations = rounds * PER_ROUND.get(operation, 1)
        for _ in sys.stdin:
            wall, cpu = loop.run_until_complete(timed(operate, rounds))
            figures = {"per_second": operations / wall, "cpu_us": cpu / operations * 1e6}
            say(**figures, threads=threads(), uses=names.used)
    except NotImplementedError as error:
        say_not_implemented(error)


if __name__ == "__main__":
    main()
