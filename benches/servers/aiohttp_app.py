"""aiohttp's server: a path parameter, a JSON answer."""

import asyncio
import socket
import ssl

from aiohttp import web

from benches.loops import NO_LOOP, Names
from benches.servers import _alone
from benches.servers._serve import arguments, serve


async def read(request: web.Request) -> web.Response:
    return web.json_response({"item": int(request.match_info["item"])})


async def run() -> web.AppRunner:
    application = web.Application()
    application.router.add_get("/{item}", read)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    return runner


async def start(_: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    runner = await run()
    await web.SockSite(runner, listener, ssl_context=tls).start()
    return runner


async def make(_: asyncio.AbstractEventLoop) -> asyncio.Protocol:
    server = (await run()).server
    assert server
    return server()


if __name__ == "__main__":
    options = arguments()
    if options.loop == NO_LOOP:
        _alone.serve(make, options.path, options.seconds)
    else:
        serve(start)
