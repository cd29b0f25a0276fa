"""The combinators that are ferrio's on some Pythons only."""

import asyncio
import sys

from ._ferrio import Task

if sys.version_info >= (3, 12):
    from ._ferrio import wait_for as wait_for

    eager_task_factory = asyncio.create_eager_task_factory(Task)
else:
    # It waits in another way there.
    wait_for = asyncio.wait_for

if sys.version_info >= (3, 13):
    as_completed = asyncio.as_completed
else:
    from ._as_completed import as_completed as as_completed
