"""redis-py's asyncio client and a real Redis, whose Unix socket is the argument."""

import asyncio
import json
import sys

import redis.asyncio as redis
from where import where


async def main() -> None:
    client = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True)
    try:
        assert await client.ping()
        await client.set("text", "ä" * 100_000)
        assert await client.get("text") == "ä" * 100_000

        # Many at once, and many in one.
        assert sorted(await asyncio.gather(*(client.incr("count") for _ in range(100)))) == [
            *range(1, 101)
        ]
        async with client.pipeline(transaction=True) as pipe:
            for number in range(1000):
                pipe.rpush("list", number)
            assert await pipe.lrange("list", 0, -1).execute() == [
                *range(1, 1001),
                [str(number) for number in range(1000)],
            ]

        # One waits for what another sends; and one gives up.
        waiting = asyncio.create_task(client.blpop(["mail"], timeout=60))
        await client.rpush("mail", "letter")
        assert list(await waiting) == ["mail", "letter"]
        try:
            async with asyncio.timeout(0.05):
                await client.blpop(["nothing"], timeout=60)
        except TimeoutError:
            pass
        else:
            raise AssertionError("there is something")
        assert await client.ping()

        async with client.pubsub() as channel:
            await channel.subscribe("news")
            assert (await channel.get_message(timeout=60))["type"] == "subscribe"
            await client.publish("news", "today")
            assert (await channel.get_message(timeout=60))["data"] == "today"

        try:
            await client.execute_command("NO SUCH COMMAND")
        except redis.ResponseError:
            pass
        else:
            raise AssertionError("there is such a command")
    finally:
        await client.aclose()
    print(json.dumps(where()))


asyncio.run(main())
