"""httpx and websockets on the service at the address that is the argument."""

import asyncio
import json
import sys

import httpx
from websockets.asyncio.client import connect
from where import where


async def main() -> None:
    base = sys.argv[1]
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
        there = (await client.get("/where")).json()
        assert (await client.get("/thread")).json() == "done"
        lines = (await client.get("/numbers")).text.split()
        assert lines == [str(number) for number in range(100)]
        sums = [client.post("/sum", json=[*range(number)]) for number in range(50)]
        for number, answer in enumerate(await asyncio.gather(*sums)):
            assert answer.json() == sum(range(number))
    async with connect(base.replace("http", "ws") + "/echo", proxy=None) as socket:
        await socket.send("ab")
        assert await socket.recv() == "abab"
    print(json.dumps({"here": where(), "there": there}))


asyncio.run(main())
