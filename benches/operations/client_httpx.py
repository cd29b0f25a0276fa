"""Operations of httpx."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from benches.loops import Names
from benches.operations import Rounds, rounds_of

CONCURRENT = 10


@rounds_of(CONCURRENT)
@asynccontextmanager
async def requests(names: Names, url: str) -> AsyncIterator[Rounds]:
    """One of ten requests that are under way at a time, on connections that are kept."""
    gather = names.gather
    limits = httpx.Limits(max_connections=CONCURRENT, max_keepalive_connections=CONCURRENT)

    async def request() -> None:
        (await client.get(url)).raise_for_status()

    async def operate(rounds: int) -> None:
        for _ in range(rounds):
            await gather(*[request() for _ in range(CONCURRENT)])

    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        yield operate
