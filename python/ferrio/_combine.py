"""The combinators: ferrio's own where they work at every turn, asyncio's where they only set something up.

asyncio's work on ferrio's loop with ferrio's tasks and futures, since they ask the loop for them.
"""

import asyncio
import sys

from ._ferrio import (
    Task,
    TaskGroup,
    Timeout,
    create_task,
    ensure_future,
    gather,
    shield,
    sleep,
    timeout,
    timeout_at,
    wait,
)

all_tasks = asyncio.all_tasks
current_task = asyncio.current_task
iscoroutine = asyncio.iscoroutine
run_coroutine_threadsafe = asyncio.run_coroutine_threadsafe
to_thread = asyncio.to_thread
wrap_future = asyncio.wrap_future

if sys.version_info >= (3, 12):
    from ._ferrio import wait_for

    create_eager_task_factory = asyncio.create_eager_task_factory
    eager_task_factory = create_eager_task_factory(Task)
else:
    # It waits in another way there.
    wait_for = asyncio.wait_for

if sys.version_info >= (3, 13):
    as_completed = asyncio.as_completed
else:
    from ._as_completed import as_completed

iscoroutinefunction = asyncio.iscoroutinefunction

__all__ = [
    "TaskGroup",
    "Timeout",
    "all_tasks",
    "as_completed",
    "create_task",
    "current_task",
    "ensure_future",
    "gather",
    "iscoroutine",
    "iscoroutinefunction",
    "run_coroutine_threadsafe",
    "shield",
    "sleep",
    "timeout",
    "timeout_at",
    "to_thread",
    "wait",
    "wait_for",
    "wrap_future",
]

if sys.version_info >= (3, 12):
    __all__ += ["create_eager_task_factory", "eager_task_factory"]
