"""The programs that clients talk to, on ports of 127.0.0.1 that the kernel chooses: nginx, Redis and
PostgreSQL, from Debian's packages, each started when the first row needs it and stopped at the end.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from benches.loops import FACTORIES
from benches.measure.outcome import Failed
from benches.measure.process import bound_to
from benches.operations.client_aiohttp import CONCURRENT

STARTING = 30.0
"""Seconds that a program may take to listen."""

CONNECTIONS = 2 * CONCURRENT * len(FACTORIES)
"""How many nginx may have open. All loops' clients keep theirs from turn to turn, and when few are left
nginx closes some that are idle: the next turn would have to connect anew."""

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type text/plain; return 200 "Hello, world!"; }}
    }}
}}
"""


class Backends:
    """The programs that run; as a context manager, until the block ends."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()
        self._addresses.clear()

    def address(self, name: str, core: int | None) -> str:
        """The URL of the program `name`, which is started on the processor `core` if it doesn't run
        yet. Raises Failed if it can't be."""
        if name not in self._addresses:
            directory = Path(self._running.enter_context(tempfile.TemporaryDirectory()))
            with bound_to(core):
                self._addresses[name] = STARTS[name](directory, free_port(), self._running)
        return self._addresses[name]


def find(program: str, package: str) -> str:
    """The path of a program, also where Debian hides it. Raises Failed with what to install."""
    hidden = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(program, path=":".join([*os.get_exec_path(), "/usr/sbin", *hidden]))
    if found is None:
        raise Failed(f"{program} is not installed; on Debian: apt-get install {package}")
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that the kernel has just chosen, and nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def start_nginx(directory: Path, port: int, running: ExitStack) -> str:
    """Starts nginx; returns its URL."""
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(directory=directory, port=port, connections=CONNECTIONS))
    command: list[str | Path] = [
        find("nginx", "nginx"),
        "-p",
        directory,
        "-c",
        configuration,
        "-e",
        "stderr",
    ]
    spawn(command, directory, running, lambda: accepts(port))
    return f"http://127.0.0.1:{port}/"


def start_redis(directory: Path, port: int, running: ExitStack) -> str:
    """Starts Redis, which keeps nothing; returns its URL."""
    command: list[str | Path] = [
        *(find("redis-server", "redis-server"), "--bind", "127.0.0.1", "--port", str(port)),
        *("--save", "", "--appendonly", "no", "--dir", directory),
    ]
    spawn(command, directory, running, lambda: accepts(port))
    return f"redis://127.0.0.1:{port}"


def start_postgres(directory: Path, port: int, running: ExitStack) -> str:
    """Starts PostgreSQL on a database of its own, with a user "bench" whom it trusts; returns its
    URL."""
    data = directory / "data"
    user: str | None = None
    if os.geteuid() == 0:
        # It refuses to be run by root; Debian's package comes with a user.
        user = "postgres"
        os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
    initialize: list[str | Path] = [
        find("initdb", "postgresql"),
        "--no-sync",
        "-A",
        "trust",
        "-U",
        "bench",
        data,
    ]
    subprocess.run(
        initialize, check=True, user=user, cwd=directory, stdout=subprocess.DEVNULL, timeout=120
    )
    command: list[str | Path] = [
        *(find("postgres", "postgresql"), "-D", data, "-k", directory, "-p", str(port)),
        *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
    ]
    # It listens before it takes connections.
    told = data / "postmaster.pid"
    spawn(
        command,
        directory,
        running,
        lambda: told.exists() and "ready" in told.read_text(),
        user=user,
    )
    return f"postgresql://bench@127.0.0.1:{port}/postgres?sslmode=disable"


def accepts(port: int) -> bool:
    """Whether somebody accepts connections at the port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def spawn(
    command: list[str | Path],
    directory: Path,
    running: ExitStack,
    ready: Callable[[], bool],
    *,
    user: str | None = None,
) -> None:
    """Starts a program that is told to end when `running` ends, and waits until it is ready. Raises
    Failed with its last word if it doesn't get there."""
    words = directory / "log"
    with words.open("w") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user
        )
    running.callback(process.wait)
    # PostgreSQL's fast shutdown, and the others end as well.
    running.callback(process.send_signal, signal.SIGINT)
    end = time.monotonic() + STARTING
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            said = words.read_text().splitlines()
            raise Failed(said[-1] if said else f"{Path(command[0]).name} did not start")
        time.sleep(0.01)


STARTS = {"nginx": start_nginx, "redis": start_redis, "postgres": start_postgres}
