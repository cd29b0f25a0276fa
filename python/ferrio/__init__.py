"""Python's asyncio, implemented in Rust.

    import ferrio

    ferrio.run(main())

The names are asyncio's and uvloop's, all of them: `import ferrio as asyncio` is complete. What does work is ferrio's;
constants, exceptions and abstract classes are asyncio's own. From a shell, `python -m ferrio app.py` runs a program
unmodified, and `patch()` does the same from within.
"""

import asyncio
import sys
from asyncio import (
    ALL_COMPLETED as ALL_COMPLETED,
    FIRST_COMPLETED as FIRST_COMPLETED,
    FIRST_EXCEPTION as FIRST_EXCEPTION,
    AbstractEventLoop as AbstractEventLoop,
    AbstractServer as AbstractServer,
    BaseEventLoop as BaseEventLoop,
    BaseProtocol as BaseProtocol,
    BaseTransport as BaseTransport,
    BrokenBarrierError as BrokenBarrierError,
    BufferedProtocol as BufferedProtocol,
    CancelledError as CancelledError,
    DatagramProtocol as DatagramProtocol,
    DatagramTransport as DatagramTransport,
    Handle as Handle,
    IncompleteReadError as IncompleteReadError,
    InvalidStateError as InvalidStateError,
    LimitOverrunError as LimitOverrunError,
    Protocol as Protocol,
    QueueEmpty as QueueEmpty,
    QueueFull as QueueFull,
    ReadTransport as ReadTransport,
    SendfileNotAvailableError as SendfileNotAvailableError,
    Server as Server,
    SubprocessProtocol as SubprocessProtocol,
    SubprocessTransport as SubprocessTransport,
    TimeoutError as TimeoutError,
    TimerHandle as TimerHandle,
    Transport as Transport,
    WriteTransport as WriteTransport,
    _enter_task as _enter_task,
    _get_running_loop as _get_running_loop,
    _leave_task as _leave_task,
    _register_task as _register_task,
    _set_running_loop as _set_running_loop,
    _unregister_task as _unregister_task,
    all_tasks as all_tasks,
    current_task as current_task,
    get_event_loop as get_event_loop,
    get_event_loop_policy as get_event_loop_policy,
    get_running_loop as get_running_loop,
    iscoroutine as iscoroutine,
    iscoroutinefunction as iscoroutinefunction,
    isfuture as isfuture,
    run_coroutine_threadsafe as run_coroutine_threadsafe,
    set_event_loop as set_event_loop,
    set_event_loop_policy as set_event_loop_policy,
    to_thread as to_thread,
    wrap_future as wrap_future,
)
from typing import TYPE_CHECKING

from . import _patch, _registry, _replacements, _submodules
from ._combine import as_completed as as_completed, wait_for as wait_for
from ._ferrio import (
    Barrier as Barrier,
    BoundedSemaphore as BoundedSemaphore,
    Condition as Condition,
    Event as Event,
    Future as Future,
    LifoQueue as LifoQueue,
    Lock as Lock,
    PriorityQueue as PriorityQueue,
    Queue as Queue,
    QueueShutDown as QueueShutDown,
    Semaphore as Semaphore,
    StreamReader as StreamReader,
    StreamReaderProtocol as StreamReaderProtocol,
    StreamWriter as StreamWriter,
    Task as Task,
    TaskGroup as TaskGroup,
    Timeout as Timeout,
    __version__ as __version__,
    create_task as create_task,
    ensure_future as ensure_future,
    gather as gather,
    shield as shield,
    sleep as sleep,
    timeout as timeout,
    timeout_at as timeout_at,
    wait as wait,
)
from ._loop import (
    Loop as Loop,
    new_event_loop as new_event_loop,
)
from ._patch import (
    patch as patch,
    patched as patched,
    unpatch as unpatch,
)
from ._runners import (
    Runner as Runner,
    run as run,
)
from ._streams import (
    open_connection as open_connection,
    open_unix_connection as open_unix_connection,
    start_server as start_server,
    start_unix_server as start_unix_server,
)
from ._subprocess_streams import (
    SubprocessStreamProtocol,
    create_subprocess_exec as create_subprocess_exec,
    create_subprocess_shell as create_subprocess_shell,
)

if sys.version_info >= (3, 12):
    from asyncio import create_eager_task_factory as create_eager_task_factory

    from ._combine import eager_task_factory as eager_task_factory

if sys.version_info >= (3, 14):
    from asyncio import (
        FrameCallGraphEntry as FrameCallGraphEntry,
        FutureCallGraph as FutureCallGraph,
        capture_call_graph as capture_call_graph,
        format_call_graph as format_call_graph,
        future_add_to_awaited_by as future_add_to_awaited_by,
        future_discard_from_awaited_by as future_discard_from_awaited_by,
        print_call_graph as print_call_graph,
    )
else:
    from asyncio import (
        AbstractChildWatcher as AbstractChildWatcher,
        AbstractEventLoopPolicy as AbstractEventLoopPolicy,
        FastChildWatcher as FastChildWatcher,
        MultiLoopChildWatcher as MultiLoopChildWatcher,
        PidfdChildWatcher as PidfdChildWatcher,
        SafeChildWatcher as SafeChildWatcher,
        ThreadedChildWatcher as ThreadedChildWatcher,
        get_child_watcher as get_child_watcher,
        set_child_watcher as set_child_watcher,
    )

# Policies, and with them the means to replace the default loop of a process, end with Python 3.15.
if sys.version_info < (3, 16):
    from ._policy import EventLoopPolicy as EventLoopPolicy, install as install

    if sys.version_info < (3, 14):
        DefaultEventLoopPolicy = EventLoopPolicy

SelectorEventLoop = EventLoop = Loop

if TYPE_CHECKING:
    # For type checkers a name that is imported as itself is exported, and a submodule of ferrio is asyncio's.
    from asyncio import (
        base_events as base_events,
        constants as constants,
        coroutines as coroutines,
        events as events,
        exceptions as exceptions,
        format_helpers as format_helpers,
        futures as futures,
        locks as locks,
        log as log,
        protocols as protocols,
        queues as queues,
        runners as runners,
        selector_events as selector_events,
        sslproto as sslproto,
        staggered as staggered,
        streams as streams,
        subprocess as subprocess,
        taskgroups as taskgroups,
        tasks as tasks,
        threads as threads,
        timeouts as timeouts,
        transports as transports,
        trsock as trsock,
        unix_events as unix_events,
    )
else:
    _more = [
        "EventLoop",
        "Loop",
        "QueueShutDown",
        "TaskGroup",
        "__version__",
        "patch",
        "patched",
        "unpatch",
    ]
    _more += [name for name in ("EventLoopPolicy", "install") if name in globals()]
    __all__ = sorted({*asyncio.__all__, *_more})

# asyncio.all_tasks() shows ferrio's tasks from here on.
_registry.install()

if not TYPE_CHECKING:
    _found = _replacements.Replacements()
    for _name in set(__all__) & set(vars(asyncio)):
        _found.add(vars(asyncio)[_name], globals()[_name])
    _found.add(asyncio.subprocess.SubprocessStreamProtocol, SubprocessStreamProtocol)
    _submodules.install(sys.modules[__name__], _found)
    _patch.prepare(_found)
