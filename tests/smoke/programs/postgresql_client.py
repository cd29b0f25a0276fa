"""asyncpg and a real PostgreSQL, whose socket's folder is the argument."""

import asyncio
import json
import sys

import asyncpg
from where import where


async def main() -> None:
    async with asyncpg.create_pool(
        host=sys.argv[1], user="postgres", database="postgres", min_size=2, max_size=5
    ) as pool:
        await pool.execute("CREATE TABLE words (id serial PRIMARY KEY, word text UNIQUE)")
        await pool.executemany(
            "INSERT INTO words (word) VALUES ($1)", [(f"word {n}",) for n in range(1000)]
        )
        found = await asyncio.gather(
            *(pool.fetchval("SELECT word FROM words WHERE id = $1", n) for n in range(1, 101))
        )
        assert found == [f"word {n}" for n in range(100)]

        async with pool.acquire() as connection:
            # A transaction that fails leaves nothing.
            try:
                async with connection.transaction():
                    await connection.execute("DELETE FROM words")
                    await connection.execute("INSERT INTO words (word) VALUES ('a'), ('a')")
            except asyncpg.UniqueViolationError:
                pass
            else:
                raise AssertionError("it is not unique")
            async with connection.transaction():
                rows = [row async for row in connection.cursor("SELECT id FROM words ORDER BY id")]
            assert [row["id"] for row in rows] == [*range(1, 1001)]
            big = "x" * 5_000_000
            assert await connection.fetchval("SELECT $1::text", big) == big

            # Cancelled, the query is cancelled on the server and the connection is of use.
            sleeping = asyncio.create_task(connection.fetchval("SELECT pg_sleep(600)"))
            asks = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            while not await pool.fetchval(asks):
                await asyncio.sleep(0.01)
            sleeping.cancel()
            try:
                await sleeping
            except asyncio.CancelledError:
                pass
            else:
                raise AssertionError("it has slept")
            assert await connection.fetchval("SELECT 1") == 1

            heard: asyncio.Queue[str] = asyncio.Queue()

            def hear(*args: object) -> None:
                heard.put_nowait(str(args[-1]))

            await connection.add_listener("news", hear)
            await pool.execute("SELECT pg_notify('news', 'today')")
            assert await asyncio.wait_for(heard.get(), 60) == "today"
            await connection.remove_listener("news", hear)
    print(json.dumps(where()))


asyncio.run(main())
