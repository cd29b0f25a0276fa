"""The same call on asyncio's loop and on ferrio's, and what came of it in words that can be compared."""

import asyncio
import inspect
import re
import threading
from collections.abc import Callable
from typing import Any

import ferrio

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "ferrio": ferrio.new_event_loop,
}

# What may differ: the names of classes, and numbers that the system gives.
_CLASSES = {
    r"_UnixSelectorEventLoop|SelectorEventLoop": "Loop",
    r"_SelectorSocketTransport|(?:ferrio\.)?StreamTransport": "Transport",
    # A callback's arguments are shown shortened.
    r"<(?:ferrio\.Strea|_SelectorSoc)\.\.\.": "<Transport...",
    r"_asyncio\.|asyncio\.(?:events\.|futures\.|tasks\.)?|ferrio\.(?:_\w+\.)?": "",
}
_NUMBERS = {
    r"0x[0-9a-f]+": "0x…",
    r"\bfd=\d+": "fd=…",
    r"(File descriptor) \d+": r"\1 …",
    r"(\('(?:::ffff:)?(?:127\.0\.0\.1|::1)', )\d+": r"\1…",
    r"Task-\d+": "Task-…",
    r"(read|write)=(<)?(polling|idle)": r"\1=\2…",
}


def plain(text: str) -> str:
    """The text without what may differ between the two loops."""
    for patterns in (_CLASSES, _NUMBERS):
        for pattern, replacement in patterns.items():
            text = re.sub(pattern, replacement, text)
    # Methods are named without their class: "call_soon() got an unexpected …".
    return re.sub(r"\b\w+\.(\w+\(\))", r"\1", text)


def words(outcome: object) -> str:
    """An exception as its type, errno and message; anything else as its repr."""
    if not isinstance(outcome, BaseException):
        return plain(repr(outcome))
    number = f" [{outcome.errno}]" if isinstance(outcome, OSError) else ""
    text = f"{type(outcome).__module__}.{type(outcome).__name__}{number}: {plain(str(outcome))}"
    if isinstance(outcome, BaseExceptionGroup):
        text += f" ({', '.join(map(words, outcome.exceptions))})"
    return text


class Trial:
    """One fresh loop, and what was heard of it: the outcome of calls, and reports to its exception handler."""

    def __init__(self, make_loop: Callable[[], asyncio.AbstractEventLoop], debug: bool) -> None:
        self.loop = make_loop()
        self.loop.set_debug(debug)
        self.loop.set_exception_handler(self._report)
        self.heard: list[str] = []

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.heard.append(f"report: {plain(context['message'])}")
        if "exception" in context:
            self.heard.append(f"  with: {words(context['exception'])}")

    async def _call(self, call: Callable[[Any], Any]) -> None:
        try:
            result = call(self.loop)
            if inspect.isawaitable(result):
                result = await result
        except Exception as error:
            result = error
        self.heard.append(words(result))
        # What the call scheduled, and what that scheduled, has its turn.
        for _ in range(5):
            await asyncio.sleep(0)

    def _call_now(self, call: Callable[[Any], Any]) -> None:
        try:
            result = call(self.loop)
        except Exception as error:
            result = error
        self.heard.append(words(result))

    def running(self, call: Callable[[Any], Any]) -> None:
        """Make the call in a task of the loop, and await what it returns."""
        try:
            self.loop.run_until_complete(self._call(call))
        finally:
            self.loop.close()

    def stopped(self, call: Callable[[Any], Any]) -> None:
        """Make the call while the loop is not running."""
        try:
            self._call_now(call)
        finally:
            self.loop.close()

    def closed(self, call: Callable[[Any], Any]) -> None:
        """Make the call on the closed loop; what it returns is closed unawaited."""
        self.loop.close()
        self._call_now(call)

    def thread(self, call: Callable[[Any], Any]) -> None:
        """Make the call in another thread than that which runs the loop meanwhile."""

        async def main() -> None:
            thread = threading.Thread(target=self._call_now, args=(call,))
            thread.start()
            # Not awaited in an executor, whose end would call the loop from a thread as well.
            thread.join()

        try:
            self.loop.run_until_complete(main())
        finally:
            self.loop.close()


def trial(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    where: str,
    call: Callable[[Any], Any],
    debug: bool,
) -> list[str]:
    """Make a call on a fresh loop, `where` naming a method of `Trial`; return what was heard."""
    experiment = Trial(make_loop, debug)
    getattr(experiment, where)(call)
    return experiment.heard
