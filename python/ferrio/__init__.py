"""Python's asyncio, implemented in Rust.

    import ferrio

    ferrio.run(main())

The names are asyncio's and uvloop's: see `run`, `Runner`, `Loop`, `new_event_loop`, `install`. From a shell,
`python -m ferrio app.py` runs a program unmodified.
"""

import sys

from . import _combine, _registry
from ._combine import *  # noqa: F403
from ._ferrio import Future, Task, __version__
from ._loop import Loop, new_event_loop
from ._runners import Runner, run

__all__ = ["Future", "Loop", "Runner", "Task", "__version__", "new_event_loop", "run"]
__all__ += _combine.__all__

# asyncio.all_tasks() shows ferrio's tasks from here on.
_registry.install()

# Policies, and with them the means to replace the default loop of a process, end with Python 3.15.
if sys.version_info < (3, 16):
    from ._policy import EventLoopPolicy, install

    __all__ += ["EventLoopPolicy", "install"]
