"""FastAPI under uvicorn: a path parameter, a query parameter, a JSON answer; and an endpoint that is
no coroutine function, which FastAPI calls in a worker thread."""

from fastapi import FastAPI

from benches.servers._uvicorn import serve

application = FastAPI()


@application.get("/{item}")
async def read(item: int, quantity: int = 1) -> dict[str, int]:
    return {"item": item, "quantity": quantity}


@application.get("/sync/{item}")
def read_in_thread(item: int, quantity: int = 1) -> dict[str, int]:
    return {"item": item, "quantity": quantity}


if __name__ == "__main__":
    serve(application)
