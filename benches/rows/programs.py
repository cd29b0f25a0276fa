"""What programs see that other people wrote: HTTP servers, clients, and the import itself."""

from benches.loops import FACTORIES, NO_LOOP
from benches.rows.form import Row, Table
from benches.rows.servers import WITHOUT_AIOFASTNET

HTTP = Table(
    key="http",
    title="HTTP: CPU of the server process a request",
    measure="http",
    metric="cpu_us",
    unit="µs",
    scale=1,
    lower_is_better=True,
    loops=(NO_LOOP, *FACTORIES),
    rows=(
        Row("asgi", "bare ASGI application, uvicorn + httptools", "asgi", ("/",), target=1.0),
        Row(
            "fastapi",
            "FastAPI, uvicorn + httptools",
            "fastapi_app",
            ("/7?quantity=3",),
            target=1.0,
        ),
        Row(
            "fastapi-sync",
            "FastAPI, endpoint in a worker thread",
            "fastapi_app",
            ("/sync/7",),
            target=1.2,
            floor=False,
        ),
        Row("aiohttp", "aiohttp's server", "aiohttp_app", ("/7",), target=1.0),
    ),
)

CLIENTS = Table(
    key="clients",
    title="Clients: CPU of the client process an operation",
    measure="operations",
    metric="cpu_us",
    unit="µs",
    scale=1,
    lower_is_better=True,
    loops=tuple(FACTORIES),
    rows=(
        Row(
            "client-aiohttp",
            "aiohttp, 1,000 concurrent requests",
            "client_aiohttp.requests",
            backend="nginx",
            target=1.0,
        ),
        Row(
            "client-httpx",
            "httpx, 10 concurrent requests",
            "client_httpx.requests",
            backend="nginx",
            target=1.0,
        ),
        Row("client-redis", "redis-py, GET", "client_redis.get", backend="redis", target=1.0),
        Row(
            "client-redis-pipeline",
            "redis-py, GET in pipelines of 100",
            "client_redis.pipeline",
            backend="redis",
            target=1.0,
        ),
        Row(
            "client-asyncpg",
            "asyncpg, query of one value",
            "client_asyncpg.fetch_value",
            backend="postgres",
            target=1.0,
        ),
    ),
)

IMPORTS = Table(
    key="imports",
    title="Import, in a fresh process (ferrio: at most 15 ms more than asyncio)",
    measure="imports",
    metric="import_ms",
    unit="ms",
    scale=1,
    lower_is_better=True,
    loops=WITHOUT_AIOFASTNET,
    rows=(Row("import", "import", "imports"),),
)

SIZE = Table(
    key="size",
    title="Size of what is installed, compressed as a wheel is (ferrio: below 3 MiB)",
    measure="size",
    metric="mib",
    unit="MiB",
    scale=1,
    lower_is_better=True,
    loops=tuple(loop for loop in WITHOUT_AIOFASTNET if loop != "asyncio"),
    rows=(Row("wheel", "wheel", "size"),),
    turns=1,
)
