"""Operations that are counted in a process of its own."""

from benches.rows.form import Row, Table
from benches.rows.servers import WITHOUT_AIOFASTNET


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


OPERATIONS = Table(
    key="operations",
    title="Operations a second",
    measure="operations",
    metric="per_second",
    unit="thousands",
    scale=1_000,
    lower_is_better=False,
    # aiofastnet replaces transports, which hardly an operation uses.
    loops=WITHOUT_AIOFASTNET,
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
        Row("getaddrinfo", "getaddrinfo of 127.0.0.1", "network.getaddrinfo", target=1.0),
        Row("connect", "create_connection to 127.0.0.1", "network.create_connection", target=1.0),
        Row("subprocess", "subprocess, spawn and collect", "processes.collect", target=1.0),
    ),
)
