"""aiohttp's server: a path parameter, a JSON answer."""

import socket
import ssl

from aiohttp import web

from benches.loops import Names
from benches.servers._serve import serve


async def read(request: web.Request) -> web.Response:
    return web.json_response({"item": int(request.match_info["item"])})


async def start(_: Names, listener: socket.socket, tls: ssl.SSLContext | None) -> object:
    application = web.Application()
    application.router.add_get("/{item}", read)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=tls).start()
    return runner


if __name__ == "__main__":
    serve(start)
