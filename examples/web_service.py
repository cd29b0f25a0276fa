"""A web service: a small shop's items, kept in memory, behind FastAPI.

    python examples/web_service.py                    # on asyncio's event loop
    python -m ferrio examples/web_service.py          # the same program, all of it on ferrio
    uvicorn --loop ferrio:new_event_loop examples.web_service:app

Then open http://127.0.0.1:8000/docs and try every endpoint. Ctrl-C stops it.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import threading
from collections.abc import AsyncIterator
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Path, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

app = FastAPI(title="A small shop")


class NewItem(BaseModel):
    """What a client sends: an item that has no id yet."""

    name: str = Field(min_length=1, max_length=100)
    price: float = Field(gt=0)
    tags: list[str] = []


class Item(NewItem):
    """An item of the store."""

    id: int


items: dict[int, Item] = {}
new_ids = itertools.count(1)


async def item_of_path(item_id: int) -> Item:
    """Return the item that the path names, or answer 404."""
    try:
        return items[item_id]
    except KeyError:
        raise HTTPException(404, f"no item {item_id}") from None


StoredItem = Annotated[Item, Depends(item_of_path)]


@app.get("/")
async def about() -> dict[str, str]:
    """Tell which event loop and which kind of task serve this request."""
    loop, task = type(asyncio.get_running_loop()), type(asyncio.current_task())
    return {
        "loop": f"{loop.__module__}.{loop.__qualname__}",
        "task": f"{task.__module__}.{task.__qualname__}",
    }


@app.get("/items")
async def list_items(
    tag: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[Item]:
    """List the first `limit` items; with `tag`, those that carry it."""
    wanted = (item for item in items.values() if tag is None or tag in item.tags)
    return list(itertools.islice(wanted, limit))


@app.post("/items", status_code=201)
async def add_item(new: NewItem) -> Item:
    """Store an item and return it with its id."""
    item = Item(id=next(new_ids), **new.model_dump())
    items[item.id] = item
    return item


@app.get("/items/{item_id}")
async def read_item(item: StoredItem) -> Item:
    """Return one item."""
    return item


@app.put("/items/{item_id}")
async def replace_item(old: StoredItem, new: NewItem) -> Item:
    """Replace one item; it keeps its id."""
    items[old.id] = item = Item(id=old.id, **new.model_dump())
    return item


@app.delete("/items/{item_id}", status_code=204)
async def remove_item(item: StoredItem) -> None:
    """Remove one item."""
    del items[item.id]


@app.get("/slow/{number}")
async def slow(
    number: int, seconds: Annotated[float, Query(ge=0, le=60)] = 0.05
) -> dict[str, float]:
    """Answer after `seconds`, as one does who waits for a database."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    await asyncio.sleep(seconds)
    return {"number": number, "waited": loop.time() - start}


@app.get("/digest/{text}")
def digest(
    text: str, rounds: Annotated[int, Query(ge=1, le=10_000_000)] = 100_000
) -> dict[str, str]:
    """Hash `text` slowly. A plain `def` runs in a worker thread, so that the loop stays free."""
    key = hashlib.pbkdf2_hmac("sha256", text.encode(), b"ferrio", rounds)
    return {"digest": key.hex(), "thread": threading.current_thread().name}


@app.get("/countdown/{start}")
async def countdown(
    start: Annotated[int, Path(ge=0, le=10_000)],
    interval: Annotated[float, Query(ge=0, le=60)] = 0.1,
) -> StreamingResponse:
    """Stream a line of JSON for each number from `start` to 0, one every `interval` seconds."""

    async def lines() -> AsyncIterator[str]:
        for number in range(start, -1, -1):
            yield json.dumps({"number": number}) + "\n"
            await asyncio.sleep(interval)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def main() -> None:
    """Serve the application until Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0: any free (default: %(default)s)")
    args = parser.parse_args()
    # "none" leaves the choice of the loop to asyncio, and so to `python -m ferrio`.
    uvicorn.run(app, host=args.host, port=args.port, loop="none", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
