"""The tests of the loop run on asyncio's, which arbitrates, and on ferrio's."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from .differential import LOOPS


@pytest.fixture(params=LOOPS)
def make_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes a loop: asyncio's or ferrio's."""
    return LOOPS[request.param]


@pytest.fixture
def loop(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop, which the end of the test closes."""
    loop = make_loop()
    yield loop
    loop.close()
