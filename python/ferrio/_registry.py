"""Let `asyncio.all_tasks()` see ferrio's tasks.

Up to Python 3.13 asyncio keeps a set of weak references to all tasks. To add to it costs more than a whole task, so
ferrio has a list of its own, and asyncio's set gets a class that shows both. From 3.14 on the interpreter keeps
a list that ferrio's tasks are in.
"""

import sys
import weakref
from asyncio import tasks
from collections.abc import Iterator
from typing import Any

from ._ferrio import registered_tasks


class _AllTasks(weakref.WeakSet[Any]):
    """The tasks in a weak set, and ferrio's."""

    def __iter__(self) -> Iterator[Any]:
        yield from registered_tasks()
        yield from super().__iter__()

    def __len__(self) -> int:
        return len(registered_tasks()) + super().__len__()

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or any(task is ours for ours in registered_tasks())

    def copy(self) -> Any:
        """Return a plain weak set of them all, which does not follow the changes."""
        return weakref.WeakSet(self)


def install() -> None:
    """Make asyncio's set of all tasks show ferrio's as well."""
    if sys.version_info < (3, 12):
        tasks._all_tasks.__class__ = _AllTasks  # type: ignore[attr-defined]
    elif sys.version_info < (3, 14):
        tasks._scheduled_tasks.__class__ = _AllTasks  # type: ignore[attr-defined]
