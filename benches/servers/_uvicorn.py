"""Serves an ASGI application with uvicorn and httptools on the loop that is named."""

import asyncio
import sys
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from benches.loops import FACTORIES, NO_LOOP
from benches.say import say, say_not_implemented
from benches.servers import _alone
from benches.servers._serve import arguments, listen


def serve(application: Any) -> None:
    """Serves until the process is stopped, as `uvicorn --http httptools --loop benches.loops:...
    --no-access-log` does."""
    options = arguments()
    factory = FACTORIES.get(options.loop)
    config = uvicorn.Config(
        application,
        loop=f"{factory.__module__}:{factory.__name__}" if factory else "none",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    if options.loop == NO_LOOP:

        async def make(loop: asyncio.AbstractEventLoop) -> asyncio.Protocol:
            config.load()
            protocol: Any = config.http_protocol_class
            made: asyncio.Protocol = protocol(config, ServerState(), {}, loop)
            return made

        _alone.serve(make, options.path, options.seconds)
        return
    listener = listen()
    # The load may come at once: the socket listens already.
    say(port=listener.getsockname()[1], uses={})
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except NotImplementedError as error:
        say_not_implemented(error)
        sys.exit(1)
