"""websockets' server and its client."""

import asyncio
import json

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedOK
from where import where


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def talk(uri: str, number: int) -> None:
    """Send texts and bytes of many sizes, and get them back."""
    async with connect(uri, compression=None if number % 2 else "deflate") as connection:
        for size in (0, 1, 125, 126, 65536, 200_000):
            for message in ("x" * size, b"y" * size):
                await connection.send(message)
                assert await connection.recv() == message
        assert await (await connection.ping()) >= 0
        await connection.close()
        try:
            await connection.recv()
        except ConnectionClosedOK:
            return
        raise AssertionError("it is open")


async def main() -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(talk(f"ws://{host}:{port}", number))
    print(json.dumps(where()))


asyncio.run(main())
