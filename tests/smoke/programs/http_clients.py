"""httpx and aiohttp's client on a real server, whose address is the argument, with a big file under /big."""

import asyncio
import hashlib
import json
import sys

import aiohttp
import httpx
from where import where


async def with_httpx(base: str) -> str:
    """Return the hash of the big file."""
    # Whatever proxy the machine knows is not for loopback.
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=60) as client:
        answers = await asyncio.gather(*(client.get("/") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert (await client.get("/nowhere")).status_code == 404
        seen = hashlib.sha256()
        async with client.stream("GET", "/big") as response:
            async for chunk in response.aiter_bytes():
                seen.update(chunk)
        return seen.hexdigest()


async def with_aiohttp(base: str) -> str:
    """Return the hash of the big file."""
    async with aiohttp.ClientSession(base) as session:

        async def status(path: str) -> int:
            async with session.get(path) as response:
                await response.read()
                return response.status

        assert set(await asyncio.gather(*(status("/") for _ in range(50)))) == {200}
        assert await status("/nowhere") == 404
        seen = hashlib.sha256()
        async with session.get("/big") as response:
            async for chunk in response.content.iter_any():
                seen.update(chunk)
        return seen.hexdigest()


async def main() -> None:
    base = sys.argv[1]
    found = {await with_httpx(base), await with_aiohttp(base)}
    print(json.dumps(where() | {"hashes": sorted(found)}))


asyncio.run(main())
