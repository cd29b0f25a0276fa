"""What a server is loaded with: ferrio-load against each way of writing an echo server."""

import resource

from benches.loops import FACTORIES, FLOOR
from benches.rows.form import Row, Table

KIB_64 = ("--size", "65536")
MIB = ("--size", "1048576")
WINDOW = ("--udp", "--connections", "64")
"""64 datagrams on their way to a socket: fewer than its buffer holds."""
WITHOUT_AIOFASTNET = tuple(loop for loop in FACTORIES if loop != "uvloop+aiofastnet")


def crowd() -> int:
    """Ten thousand connections, or as many as a process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10_000 if most == resource.RLIM_INFINITY else min(10_000, most - 100)


CROWD = crowd()
MANY = ("--connections", str(CROWD))


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
    return Row(key, title, program, load, tls, design=figures, target=best_peer / target_us)


def table(key: str, title: str, loops: tuple[str, ...], *rows: Row, turns: int = 5) -> Table:
    """A table that compares the CPU time of the server process a message."""
    title += ": CPU of the server process a message"
    return Table(key, title, "echo", "cpu_us", "µs", 1, True, loops, rows, turns)


ECHO = table(
    "echo",
    "Echo",
    (FLOOR, *FACTORIES),
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
    Row("protocol-64k", "Protocol, 64 KiB", "protocol", KIB_64, target=1.0),
    Row("protocol-1m", "Protocol, 1 MiB", "protocol", MIB, target=1.0),
    Row("streams-1m", "streams, 1 MiB", "streams_read", MIB, target=1.0),
    Row("accept", "connect and close", "protocol", ("--reconnect",), target=1.2),
)

TLS = table(
    "tls",
    "TLS",
    tuple(FACTORIES),
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
)

UNIX = table(
    "unix",
    "Unix sockets",
    (FLOOR, *FACTORIES),
    Row("unix-protocol", "Protocol", "protocol", unix=True, target=1.01),
    Row("unix-streams", "streams, read + write", "streams_read", unix=True, target=1.38),
)

UDP = table(
    "udp",
    "UDP",
    tuple(FACTORIES),
    Row("udp-64", "64 bytes", "datagrams", (*WINDOW, "--size", "64"), target=1.2),
    Row("udp-1400", "1,400 bytes", "datagrams", (*WINDOW, "--size", "1400"), target=1.2),
)

SCALE = table(
    "scale",
    "Scale (Protocol, 1 KiB)",
    (FLOOR, *FACTORIES),
    Row("scale-10", "10 connections", "protocol"),
    Row(
        "scale-idle",
        f"{CROWD:,} connections, 100 of them active",
        "protocol",
        (*MANY, "--active", "100"),
        beside="scale-10",
    ),
    Row("scale-active", f"{CROWD:,} active connections", "protocol", MANY, beside="scale-10"),
    Row(
        "scale-timers",
        "10 connections, a million pending timers",
        "protocol",
        server=("--timers", "1000000"),
        beside="scale-10",
        floor=False,
    ),
    turns=2,
)

MEMORY = Table(
    "memory",
    f"Memory a connection, of {CROWD:,}",
    "echo",
    "memory_kib",
    "KiB",
    1,
    True,
    tuple(FACTORIES),
    (
        Row("memory-protocol", "Protocol", "protocol", MANY, target=1.0),
        Row("memory-streams", "streams, read + write", "streams_read", MANY, target=1.0),
    ),
    # A server that has had as many connections before does not grow again.
    turns=1,
)

LATENCY = Table(
    "latency",
    "Latency: p99.9 at half of the load that saturates the loop",
    "latency",
    "p999_us",
    "µs",
    1,
    True,
    (FLOOR, *FACTORIES),
    (Row("latency", "Protocol, 1 KiB", "protocol", target=1.0),),
    # The slowest of a thousand messages scatter far more than the mean of all.
    turns=15,
)
