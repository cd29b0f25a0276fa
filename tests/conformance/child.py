"""The process that runs one test class: puts the subject in place, then tells what happens.

Takes one argument, a JSON object: `subject`, `module`, `class_name`, `in_place`, `tests`, and
`events`, the file to which a JSON object is written for every step as it is taken, so that the
parent knows how far a process came that died.
"""

# First of all asyncio: a subject that imports `_asyncio` while asyncio is not yet imported makes
# asyncio take its Python functions, which know nothing of the C ones' tasks.
import asyncio  # noqa: F401
import importlib
import json
import os
import pkgutil
import signal
import sys
import unittest

_PRIVATE_TASK = {"asyncio.tasks._CTask": "Task"}
_PRIVATE_FUTURE = {"asyncio.futures._CFuture": "Future"}

_COMBINATORS = {
    "asyncio.tasks": [
        "as_completed",
        "create_task",
        "ensure_future",
        "gather",
        "shield",
        "sleep",
        "wait",
        "wait_for",
    ],
    "asyncio.timeouts": ["Timeout", "timeout", "timeout_at"],
    "asyncio.taskgroups": ["TaskGroup"],
}
if sys.version_info >= (3, 12):
    _COMBINATORS["asyncio.tasks"] += ["create_eager_task_factory", "eager_task_factory"]

# What the names in suites.toml's `in_place` replace: the attribute, and by what of the subject.
# `_CTask` and `_CFuture` are what CPython's tests take for "the C implementation"; the rest of
# asyncio does not look at them, so with these two in place the library itself is unpatched.
PLACES = {
    "Task": _PRIVATE_TASK,
    "Future": _PRIVATE_FUTURE,
    "asyncio": {
        **_PRIVATE_TASK,
        **_PRIVATE_FUTURE,
        "asyncio.Task": "Task",
        "asyncio.tasks.Task": "Task",
        "asyncio.Future": "Future",
        "asyncio.futures.Future": "Future",
    },
    "combine": {
        f"{place}.{name}": name
        for module, names in _COMBINATORS.items()
        for name in names
        for place in ("asyncio", module)
    },
    # Whatever makes a loop: the class by its public names, `asyncio.new_event_loop()` and the default policy.
    "loop": {
        "asyncio.SelectorEventLoop": "Loop",
        "asyncio.unix_events.SelectorEventLoop": "Loop",
        "asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory": "Loop",
        **({"asyncio.EventLoop": "Loop"} if sys.version_info >= (3, 13) else {}),
    },
    "streams": {
        f"{module}.{name}": name
        for module in ("asyncio", "asyncio.streams")
        for name in (
            "StreamReader",
            "StreamReaderProtocol",
            "StreamWriter",
            "open_connection",
            "open_unix_connection",
            "start_server",
            "start_unix_server",
        )
    },
    # As CPython's tests of the primitives take them.
    "sync": {
        f"asyncio.{name}": name
        for name in (
            "Lock",
            "Event",
            "Condition",
            "Semaphore",
            "BoundedSemaphore",
            "Barrier",
            "Queue",
            "LifoQueue",
            "PriorityQueue",
        )
    },
}


def put_in_place(subject, in_place: str) -> None:
    """Replace what `in_place` stands for: names of PLACES joined by +, or `patch` for all that the subject patches.

    Raises AttributeError if there is nothing of that name to replace, or to replace it by.
    """
    for place in in_place.split("+"):
        if place == "patch":
            subject.patch()
            continue
        for target, name in PLACES[place].items():
            holder_name, _, attribute = target.rpartition(".")
            holder = pkgutil.resolve_name(holder_name)
            getattr(holder, attribute)
            setattr(holder, attribute, getattr(subject, name))


class EventWriter(unittest.TestResult):
    """Writes every step and outcome down at once. A test may have several outcomes: subtests."""

    def __init__(self, path: str, tests: list[str]):
        super().__init__()
        # Unbuffered, and not inherited: only what this process did counts.
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        self._tests = tests

    def write(self, event: str, test: str = "", detail: str = "") -> None:
        line = json.dumps({"event": event, "test": test, "detail": detail})
        os.write(self._fd, line.encode() + b"\n")

    def startTest(self, test):
        super().startTest(test)
        self.write("started", _name(test))

    def stopTest(self, test):
        super().stopTest(test)
        self.write("stopped", _name(test))

    def addSuccess(self, test):
        super().addSuccess(test)
        self.write("passed", _name(test))

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.write("passed", _name(test))

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.write("failed", _name(test), "unexpected success")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.write("failed", _name(test), self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.write("failed", _name(test), self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            kind = self.failures if issubclass(err[0], test.failureException) else self.errors
            self.write("failed", _name(test), f"{subtest}\n{kind[-1][1]}")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        # setUpClass and setUpModule skip for all the tests of the class.
        for name in [_name(test)] if _case(test) else self._tests:
            self.write("skipped", name, reason)


def _case(test):
    """The TestCase of a test or a subtest; None for the stand-in of setUpClass and the like."""
    if isinstance(test, unittest.case._SubTest):  # type: ignore[attr-defined]
        return test.test_case
    return test if isinstance(test, unittest.TestCase) else None


def _name(test) -> str:
    case = _case(test)
    return case._testMethodName if case else test.id()


def main() -> None:
    # What a shell runs in the background ignores SIGINT, and the tests of Ctrl-C would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = json.loads(sys.argv[1])
    put_in_place(importlib.import_module(job["subject"]), job["in_place"])
    cls = getattr(importlib.import_module(job["module"]), job["class_name"])
    result = EventWriter(job["events"], job["tests"])
    unittest.TestSuite(map(cls, job["tests"])).run(result)
    result.write("ended")


if __name__ == "__main__":
    main()
