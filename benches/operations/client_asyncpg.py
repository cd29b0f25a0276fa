"""Operations of asyncpg."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from benches.loops import Names
from benches.operations import Rounds


@asynccontextmanager
async def fetch_value(_: Names, url: str) -> AsyncIterator[Rounds]:
    """A query of one value with one argument, prepared the first time."""
    connection = await asyncpg.connect(url)

    async def operate(rounds: int) -> None:
        for number in range(rounds):
            await connection.fetchval("select $1::int + 1", number)

    yield operate
    await connection.close()
