"""A scenario with asyncio's combinators and with ferrio's, which must see the same."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import ferrio

from tests.event_loop.differential import words as plain_words

Scenario = Callable[[Any], Awaitable[Any]]

# Whose combinators on whose loop. asyncio's on ferrio's loop are others' to test.
PAIRS: dict[str, tuple[ModuleType, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": (asyncio, asyncio.SelectorEventLoop),
    "ferrio": (ferrio, ferrio.new_event_loop),
    "ferrio on asyncio's loop": (ferrio, asyncio.SelectorEventLoop),
}


def words(outcome: object) -> str:
    """`outcome` in words that can be compared."""
    # Where a callback or a coroutine stands differs, as does the module of native ones.
    return re.sub(r" (running )?at /\S+|, defined at \S+| created at \S+", "", plain_words(outcome))


def chain(error: BaseException | None) -> list[str]:
    """The exception and its causes or contexts, in words."""
    seen = []
    while error is not None:
        link = "from" if error.__cause__ is not None else "in"
        seen.append(f"{words(error)} {error.__suppress_context__} {link}")
        error = error.__cause__ or error.__context__
    return seen


async def outcome(awaitable: Awaitable[Any]) -> Any:
    """What the awaitable returned, or the chain of what it raised."""
    try:
        return words(await awaitable)
    except BaseException as error:
        return chain(error)


def everywhere(scenario: Scenario, debug: bool = False) -> Any:
    """Run `scenario(library)` on all PAIRS; what it returns must be equal, and is returned."""
    seen = {}
    for name, (library, make_loop) in PAIRS.items():
        reports: list[str] = []
        with asyncio.Runner(debug=debug, loop_factory=make_loop) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(
                lambda _, context, reports=reports: reports.append(  # type: ignore[misc]
                    words(context.get("exception")) + context["message"]
                )
            )
            seen[name] = runner.run(asyncio.wait_for(scenario(library), 20)), reports
    expected = seen["asyncio"]
    for name, result in seen.items():
        assert result == expected, name
    return expected[0]
