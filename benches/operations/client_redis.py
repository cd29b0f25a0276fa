"""Operations of redis-py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from benches.loops import Names
from benches.operations import Rounds, rounds_of

BATCH = 100


@asynccontextmanager
async def get(_: Names, url: str) -> AsyncIterator[Rounds]:
    """A GET, and its answer."""

    async def operate(rounds: int) -> None:
        for _ in range(rounds):
            await client.get("key")

    async with Redis.from_url(url) as client:
        await client.set("key", "value")
        yield operate


@rounds_of(BATCH)
@asynccontextmanager
async def pipeline(_: Names, url: str) -> AsyncIterator[Rounds]:
    """One of the hundred GETs that are sent together and answered together."""

    async def operate(rounds: int) -> None:
        for _ in range(rounds):
            commands = client.pipeline(transaction=False)
            for _ in range(BATCH):
                commands.get("key")
            await commands.execute()

    async with Redis.from_url(url) as client:
        await client.set("key", "value")
        yield operate
