"""Python's asyncio, implemented in Rust.

    import ferrio

    ferrio.run(main())

The names are asyncio's and uvloop's: see `run`, `Runner`, `Loop`, `new_event_loop`, `install`. From a shell,
`python -m ferrio app.py` runs a program unmodified.
"""

import sys

from . import _registry
from ._ferrio import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Future,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    QueueShutDown,
    Semaphore,
    Task,
    __version__,
)
from ._loop import Loop, new_event_loop
from ._runners import Runner, run

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "Future",
    "LifoQueue",
    "Lock",
    "Loop",
    "PriorityQueue",
    "Queue",
    "QueueShutDown",
    "Runner",
    "Semaphore",
    "Task",
    "__version__",
    "new_event_loop",
    "run",
]

# asyncio.all_tasks() shows ferrio's tasks from here on.
_registry.install()

# Policies, and with them the means to replace the default loop of a process, end with Python 3.15.
if sys.version_info < (3, 16):
    from ._policy import EventLoopPolicy, install

    __all__ += ["EventLoopPolicy", "install"]
