"""Python's asyncio, implemented in Rust.

    import ferrio

    ferrio.run(main())

The names are asyncio's and uvloop's: see `run`, `Runner`, `Loop`, `new_event_loop`, `install`. From a shell,
`python -m ferrio app.py` runs a program unmodified.
"""

import sys

from . import _combine, _registry
from ._combine import *  # noqa: F403
from ._ferrio import (
    Future,
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    Task,
    __version__,
)
from ._loop import Loop, new_event_loop
from ._runners import Runner, run
from ._streams import open_connection, open_unix_connection, start_server, start_unix_server

__all__ = [
    "Future",
    "Loop",
    "Runner",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "__version__",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "start_server",
    "start_unix_server",
]
__all__ += _combine.__all__

# asyncio.all_tasks() shows ferrio's tasks from here on.
_registry.install()

# Policies, and with them the means to replace the default loop of a process, end with Python 3.15.
if sys.version_info < (3, 16):
    from ._policy import EventLoopPolicy, install

    __all__ += ["EventLoopPolicy", "install"]
