"""What is measured: three tables and their rows, with the figures of the design beside them."""

from dataclasses import dataclass, field

from benches.loops import FACTORIES, FLOOR


@dataclass(frozen=True)
class Row:
    """One line of a table: something that every loop does."""

    key: str
    title: str
    program: str
    """Which server, or which operation, does it: a module of `benches.servers`, or
    MODULE.NAME in `benches.operations`."""
    load: tuple[str, ...] = ()
    """What the load is told beyond where the server is: arguments for ferrio-load, or the path."""
    tls: bool = False
    design: dict[str, float] = field(default_factory=dict, hash=False)
    """What the design measured on its machine, by loop, in the table's unit."""
    target: float | None = None
    """How many times as good as the best peer ferrio is to be."""
    target_on_stdlib: float | None = None
    """The target for as long as ferrio has not all the names the row uses; None: no other."""


@dataclass(frozen=True)
class Table:
    """Rows that are measured in the same way and compared by the same figure."""

    key: str
    title: str
    metric: str
    """The figure that is compared."""
    unit: str
    scale: float
    """What the figure is divided by to be in that unit."""
    lower_is_better: bool
    loops: tuple[str, ...]
    rows: tuple[Row, ...]


def echo(
    key: str,
    title: str,
    program: str,
    design: tuple[float, ...],
    target_us: float,
    load: tuple[str, ...] = (),
    tls: bool = False,
) -> Row:
    """A row of the echo table, whose target the design gives in microseconds."""
    loops = ("asyncio", "uvloop", "uvloop+aiofastnet", *(() if tls else ("rloop", FLOOR)))
    figures = dict(zip(loops, design, strict=True))
    best_peer = min(figure for loop, figure in figures.items() if loop != FLOOR)
    return Row(key, title, program, load, tls, figures, best_peer / target_us)


def operation(
    key: str,
    title: str,
    program: str,
    design: tuple[float, float, float],
    target: float,
    target_on_stdlib: float | None = None,
) -> Row:
    """A row of the operations table."""
    figures = dict(zip(("asyncio", "uvloop", "rloop"), design, strict=True))
    return Row(
        key,
        title,
        program,
        design=figures,
        target=target,
        target_on_stdlib=target_on_stdlib,
    )


KIB_64 = ("--size", "65536")

TABLES = (
    Table(
        key="echo",
        title="Echo: CPU of the server process a message",
        metric="cpu_us",
        unit="µs",
        scale=1,
        lower_is_better=True,
        loops=(FLOOR, *FACTORIES),
        rows=(
            echo("protocol", "Protocol", "protocol", (5.71, 4.36, 4.12, 4.00, 3.74), 3.95),
            echo(
                "buffered-protocol",
                "BufferedProtocol",
                "buffered_protocol",
                (6.53, 4.88, 4.80, 4.48, 3.73),
                4.30,
            ),
            echo(
                "streams-read",
                "streams, read + write",
                "streams_read",
                (10.7, 7.25, 7.29, 6.77, 3.63),
                4.90,
            ),
            echo(
                "streams-lines",
                "streams, readline + drain",
                "streams_lines",
                (12.4, 8.43, 8.21, 8.28, 3.73),
                5.40,
                ("--line",),
            ),
            echo(
                "streams-64k",
                "streams, 64 KiB",
                "streams_read",
                (29.2, 53.9, 27.6, 25.2, 12.7),
                17,
                KIB_64,
            ),
            echo(
                "sockets",
                "sock_recv + sock_sendall",
                "sockets",
                (26.3, 18.0, 24.7, 9.66, 3.70),
                5.50,
            ),
            echo("tls", "TLS Protocol, 1 KiB", "protocol", (13.0, 30.0, 5.86), 5.70, tls=True),
            echo(
                "tls-64k",
                "TLS Protocol, 64 KiB",
                "protocol",
                (74.5, 137, 43.9),
                43,
                KIB_64,
                tls=True,
            ),
            echo(
                "tls-handshake",
                "TLS handshake and close",
                "protocol",
                (817, 675, 784),
                640,
                ("--reconnect",),
                tls=True,
            ),
        ),
    ),
    Table(
        key="operations",
        title="Operations a second",
        metric="per_second",
        unit="thousands",
        scale=1_000,
        lower_is_better=False,
        # aiofastnet replaces transports, which no operation uses.
        loops=tuple(loop for loop in FACTORIES if loop != "uvloop+aiofastnet"),
        rows=(
            operation("call-soon", "call_soon", "callbacks.call_soon", (749, 1_976, 5_001), 1.0),
            operation("sleep-zero", "await sleep(0)", "tasks.sleep_zero", (599, 1_249, 2_243), 2.5),
            operation(
                "stdlib-sleep-zero",
                "await sleep(0), asyncio's own",
                "tasks.stdlib_sleep_zero",
                (599, 1_249, 2_243),
                1.6,
            ),
            operation(
                "create-task",
                "await create_task(noop)",
                "tasks.create_task",
                (236, 440, 624),
                2.5,
            ),
            operation("gather", "gather of 5,000", "tasks.gather", (299, 432, 437), 4.0),
            operation("task-group", "TaskGroup of 5,000", "tasks.task_group", (317, 462, 488), 3.0),
            operation(
                "future",
                "future, set_result by call_soon, await",
                "waiting.future",
                (304, 613, 1_117),
                1.3,
            ),
            operation(
                "queue",
                "Queue(1) put/get between two tasks",
                "waiting.queue",
                (195, 323, 403),
                3.0,
            ),
            operation(
                "call-later-cancel",
                "call_later + cancel",
                "callbacks.call_later_cancel",
                (893, 1_558, 2_589),
                1.3,
            ),
            operation("timers", "50,000 timers, gathered", "tasks.timers", (78, 101, 123), 3.0),
            operation("wait-for", "wait_for(sleep(0), 10)", "tasks.wait_for", (211, 349, 369), 3.0),
            operation(
                "run-in-executor",
                "run_in_executor round trip",
                "waiting.run_in_executor",
                (41, 53, 52),
                1.5,
            ),
            operation(
                "call-soon-threadsafe",
                "call_soon_threadsafe from a thread",
                "callbacks.call_soon_threadsafe",
                (413, 2_621, 5_656),
                1.0,
            ),
        ),
    ),
    Table(
        key="http",
        title="HTTP: CPU of the server process a request",
        metric="cpu_us",
        unit="µs",
        scale=1,
        lower_is_better=True,
        loops=tuple(FACTORIES),
        rows=(
            Row("asgi", "bare ASGI application, uvicorn + httptools", "asgi", ("/",)),
            Row("fastapi", "FastAPI, uvicorn + httptools", "fastapi_app", ("/7?quantity=3",)),
            Row("aiohttp", "aiohttp's server", "aiohttp_app", ("/7",)),
        ),
    ),
)
