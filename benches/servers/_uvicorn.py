"""Serves an ASGI application with uvicorn and httptools on the loop that is named."""

import sys
from typing import Any

import uvicorn

from benches.loops import FACTORIES
from benches.say import say, say_not_implemented
from benches.servers._serve import arguments, listen


def serve(application: Any) -> None:
    """Serves until the process is stopped, as `uvicorn --http httptools --loop benches.loops:...
    --no-access-log` does."""
    factory = FACTORIES[arguments().loop]
    config = uvicorn.Config(
        application,
        loop=f"{factory.__module__}:{factory.__name__}",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
    listener = listen()
    # The load may come at once: the socket listens already.
    say(port=listener.getsockname()[1], uses={})
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except NotImplementedError as error:
        say_not_implemented(error)
        sys.exit(1)
