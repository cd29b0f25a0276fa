"""Runs a workload in this process and prints what is left of it, as JSON.

`python -m tests.leaks.measure NAME COUNT` runs the workload once with a tenth of the count, so that caches and free
lists have filled, and then with the whole of it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sys
from collections import Counter
from typing import Any

import ferrio

from . import workloads


class Count:
    """What there is in this process now."""

    def __init__(self) -> None:
        # What a finalizer drops may be garbage only the next time.
        while gc.collect():
            pass
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.objects = Counter(type(thing).__name__ for thing in gc.get_objects())
        self.blocks = sys.getallocatedblocks()
        with open("/proc/self/statm") as statm:
            self.memory = int(statm.read().split()[1]) * resource.getpagesize()

    def since(self, before: Count) -> dict[str, Any]:
        """What has been added."""
        return {
            "descriptors": self.descriptors - before.descriptors,
            "objects": dict(self.objects - before.objects),
            "blocks": self.blocks - before.blocks,
            "memory": self.memory - before.memory,
        }


def main(name: str, count: int) -> None:
    """Measure one workload."""
    workload = getattr(workloads, name)

    def run(times: int) -> None:
        if asyncio.iscoroutinefunction(workload):
            loop.run_until_complete(workload(times))
        else:
            workload(times)

    loop = ferrio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(lambda loop, context: None)
    for _ in range(2):
        run(count // 10)
    before = Count()
    del before  # The counting itself has made what it needs.
    before = Count()
    run(count)
    print(json.dumps(Count().since(before)))
    loop.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
