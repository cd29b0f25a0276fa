"""The default executor: the threads behind `run_in_executor(None, ...)`, `asyncio.to_thread()` and `getaddrinfo()`.

It is a `concurrent.futures.ThreadPoolExecutor` with another queue: what a loop leaves there needs no future of
`concurrent.futures` and no lock, and the result goes to the loop without a callback in between.
"""

import asyncio
import concurrent.futures
import logging
import threading
import weakref
from concurrent.futures import thread
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import _ferrio

_logger = logging.getLogger("concurrent.futures")

_ASYNCIOS: dict[type[BaseException], type[BaseException]] = {
    concurrent.futures.CancelledError: asyncio.CancelledError,
    concurrent.futures.InvalidStateError: asyncio.InvalidStateError,
}


def _genuine_submit() -> Any:
    """Return `ThreadPoolExecutor.submit`, or None if another function has taken its place already."""
    submit = concurrent.futures.ThreadPoolExecutor.submit
    is_genuine = type(submit) is FunctionType and submit.__globals__ is vars(thread)
    return submit if is_genuine else None


class DefaultExecutor(concurrent.futures.ThreadPoolExecutor):
    """The `ThreadPoolExecutor` that a loop makes when it is asked for none: as many threads, with the same names."""

    if TYPE_CHECKING:
        # What is used of ThreadPoolExecutor beyond its documented face.
        _shutdown_lock: threading.Lock
        _threads: set[threading.Thread]

    # As long as it is what submit() is, loops go around it.
    genuine_submit = _genuine_submit()

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self._work_queue: Any = _ferrio.WorkQueue()

    def start_worker(self) -> None:
        """Start one more thread, if one is wanted and there are not as many as there may be.

        Raises RuntimeError when the system has no more threads or the interpreter shuts down.
        """
        with self._shutdown_lock, thread._global_shutdown_lock:
            if thread._shutdown:
                # Nobody would end the thread.
                self._work_queue.put(None)
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            self._adjust_thread_count()

    def _adjust_thread_count(self) -> None:
        """Start a thread if one is wanted: what `submit()` calls, with its locks held."""
        queue, number = self._work_queue, len(self._threads)
        if number >= self._max_workers or not queue.wants_worker():
            return
        # An executor that nobody shuts down ends its workers when it is collected. The worker keeps what says so.
        collected = weakref.ref(self, lambda _: queue.put(None))
        context = getattr(self, "_create_worker_context", None)  # from Python 3.14 on
        worker = threading.Thread(
            name=f"{self._thread_name_prefix}_{number}",
            target=_work,
            args=(collected, queue) if context is None else (collected, queue, context()),
        )
        worker.start()
        self._threads.add(worker)
        # Who is there is joined when the interpreter shuts down.
        thread._threads_queues[worker] = queue  # type: ignore[index]


def _work(_collected: object, queue: Any, *args: Any) -> None:
    """Do what is left in the queue, in this thread, as long as there may be more."""
    try:
        queue.work(*args)
    except BaseException:
        _logger.critical("Exception in worker", exc_info=True)


def asyncios(exception: BaseException) -> BaseException:
    """Return asyncio's counterpart of an exception of `concurrent.futures`, and any other exception as it is."""
    kind = _ASYNCIOS.get(type(exception))
    return (
        exception if kind is None else kind(*exception.args).with_traceback(exception.__traceback__)
    )
