"""What the tests of the primitives share."""

import asyncio
import gc
import sys
from collections.abc import Iterator

import ferrio
import pytest

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "ferrio": ferrio.new_event_loop}


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of either kind: the primitives work on both."""
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def nothing_unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail on what a finalizer could not raise."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: unraisable.append(args.exc_value))
    yield
    gc.collect()
    assert unraisable == []
