"""A service of FastAPI."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from .where import where

app = FastAPI()


@app.get("/where")
async def tell() -> dict[str, str]:
    return where()


@app.get("/thread")
def in_a_thread() -> str:
    return "done"


@app.get("/numbers")
async def numbers() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(100):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines())


@app.post("/sum")
async def add(values: list[int]) -> int:
    return sum(values)


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text * 2)
