"""aiohttp's server and its client, on TCP and on a Unix socket."""

import asyncio
import hashlib
import io
import json
import os
import tempfile

import aiohttp
from aiohttp import web
from where import where

BODY = os.urandom(3_000_000)
DONE = web.AppKey("DONE", asyncio.Event)


async def digest(request: web.Request) -> web.Response:
    """Hash what is sent, as it comes."""
    seen = hashlib.sha256()
    async for chunk in request.content.iter_chunked(65536):
        seen.update(chunk)
    return web.Response(text=seen.hexdigest())


async def numbers(request: web.Request) -> web.StreamResponse:
    """Stream lines."""
    response = web.StreamResponse()
    await response.prepare(request)
    for number in range(100):
        await response.write(f"{number}\n".encode())
        await asyncio.sleep(0)
    await response.write_eof()
    return response


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Say everything twice."""
    socket = web.WebSocketResponse(heartbeat=30)
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data * 2)
    return socket


async def slow(request: web.Request) -> web.Response:
    """Answer when everything else is done."""
    await request.app[DONE].wait()
    return web.Response()


async def use(session: aiohttp.ClientSession, base: str) -> None:
    """Ask for everything that the server has."""
    async with session.post(f"{base}/digest", data=io.BytesIO(BODY)) as response:
        assert await response.text() == hashlib.sha256(BODY).hexdigest()
    async with session.get(f"{base}/numbers") as response:
        lines = [int(line) async for line in response.content]
        assert lines == list(range(100))
    async with session.ws_connect(f"{base}/echo") as socket:
        for word in ("a", "bc", "d" * 100_000):
            await socket.send_str(word)
            assert (await socket.receive()).data == word * 2
    requests = [session.post(f"{base}/digest", data=bytes([n])) for n in range(50)]
    for number, response in enumerate(await asyncio.gather(*requests)):
        assert await response.text() == hashlib.sha256(bytes([number])).hexdigest()
    try:
        async with session.get(f"{base}/slow", timeout=aiohttp.ClientTimeout(total=0.05)):
            raise AssertionError("it answered")
    except TimeoutError:
        pass
    async with session.get(f"{base}/nowhere") as response:
        assert response.status == 404


async def main() -> None:
    app = web.Application()
    app[DONE] = asyncio.Event()
    app.router.add_post("/digest", digest)
    app.router.add_get("/numbers", numbers)
    app.router.add_get("/echo", echo)
    app.router.add_get("/slow", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        async with aiohttp.ClientSession() as session:
            await use(session, f"http://{host}:{port}")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            await web.UnixSite(runner, path).start()
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session:
                await use(session, "http://localhost")
    finally:
        app[DONE].set()
        await runner.cleanup()
    print(json.dumps(where()))


asyncio.run(main())
