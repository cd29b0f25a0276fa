"""Operations of aiohttp's client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from benches.loops import Names
from benches.operations import Rounds, rounds_of

CONCURRENT = 1_000


@rounds_of(CONCURRENT)
@asynccontextmanager
async def requests(names: Names, url: str) -> AsyncIterator[Rounds]:
    """One of a thousand requests that are under way at a time, each on a connection of its own,
    which is kept for the next."""
    gather = names.gather
    connector = aiohttp.TCPConnector(limit=CONCURRENT)

    async def request() -> None:
        async with session.get(url) as response:
            await response.read()

    async def operate(rounds: int) -> None:
        for _ in range(rounds):
            await gather(*[request() for _ in range(CONCURRENT)])

    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as session:
        yield operate
