"""The web service on a bad day: an ASGI application that makes the first attempts fail.

What happens to `/slow/{number}` follows from the last digit of the number:

- 1: the first attempt is answered with 503
- 2: the first three attempts are answered with 503
- 3: the connection of the first attempt is closed in the middle of the answer
- 4: the connection of the first two attempts is reset before the answer. Twice, since
  aiohttp repeats by itself, once, a request that a kept-alive connection has swallowed

`/faults` tells how often, how many requests there were, and how many at most at a time.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from examples.web_service import app as service

FAULTS = {"1": ["busy"], "2": ["busy"] * 3, "3": ["cut"], "4": ["reset"] * 2}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

attempts: Counter[str] = Counter()
seen: Counter[str] = Counter()
now = 0


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Serve one request."""
    global now
    if scope["type"] == "http" and scope["path"] == "/faults":
        await respond(send, 200, json.dumps(seen).encode())
        return
    if scope["type"] != "http" or not scope["path"].startswith("/slow/"):
        await service(scope, receive, send)
        return
    path = scope["path"]
    faults = FAULTS.get(path[-1], [])
    fault = faults[attempts[path]] if attempts[path] < len(faults) else None
    attempts[path] += 1
    now += 1
    seen["requests"] += 1
    seen["at a time"] = max(seen["at a time"], now)
    try:
        if fault:
            seen[fault] += 1
        match fault:
            case None:
                await service(scope, receive, send)
            case "busy":
                await respond(send, 503, b'{"detail": "busy"}')
            case "cut":
                await respond(send, 200, b'{"number"', missing=100)
            case "reset":
                transport_of(receive).abort()
    finally:
        now -= 1


def transport_of(receive: Receive) -> asyncio.Transport:
    """Reach behind the ASGI interface for the transport of the connection, uvicorn's."""
    transport: asyncio.Transport = receive.__self__.transport  # type: ignore[attr-defined]
    return transport


async def respond(send: Send, status: int, body: bytes, missing: int = 0) -> None:
    """Send a response of JSON that promises `missing` bytes more than it has."""
    length = str(len(body) + missing).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": missing > 0})
