"""FastAPI under uvicorn: a path parameter, a query parameter, a JSON answer."""

from fastapi import FastAPI

from benches.servers._uvicorn import serve

application = FastAPI()


@application.get("/{item}")
async def read(item: int, quantity: int = 1) -> dict[str, int]:
    return {"item": item, "quantity": quantity}


if __name__ == "__main__":
    serve(application)
