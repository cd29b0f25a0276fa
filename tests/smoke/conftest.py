"""The servers, each of its own: data in a folder that goes, a Unix socket or a port that the kernel chooses."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Only ever reached by a server that doesn't start or stop, in seconds.
PATIENCE = 60
# Debian puts servers where not everybody looks, and PostgreSQL's where nobody does.
PLACES = [
    *os.get_exec_path(),
    "/usr/sbin",
    *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin"))),
]


def program(name: str) -> str:
    """Return the path of a server's program. Without it the test fails: .ci/install installs it."""
    path = shutil.which(name, path=os.pathsep.join(PLACES))
    assert path, f"{name} is missing; .ci/install installs it"
    return path


class Server:
    """A server that runs until the end of a `with` block, as the user `account`, on `listener` if it takes one."""

    def __init__(
        self, *command: object, account: str | None = None, listener: socket.socket | None = None
    ) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the server has ended
        descriptors = [] if listener is None else [listener.fileno()]
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            user=account,
            pass_fds=descriptors,
            env=os.environ | {"NGINX": "".join(f"{fd};" for fd in descriptors)},
        )

    def __enter__(self) -> "Server":
        return self

    def wait_until(self, answers: Callable[[], bool]) -> None:
        """Ask again and again until the server answers. Fails when it ends instead, or takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def log(self) -> str:
        """Return what the server has said."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def __exit__(self, *exc_info: object) -> None:
        # SIGINT: PostgreSQL waits for its clients after a SIGTERM. To all three it means to end in order.
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"does not end: {self.log()}") from None
        finally:
            self._log.close()


def accepts(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder whose name is short enough for a socket, and which other accounts may enter."""
    with tempfile.TemporaryDirectory(prefix="smoke-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[Path]:
    """The Unix socket of a Redis without a port."""
    path = folder / "redis"
    options = ["--port", 0, "--unixsocket", path, "--save", "", "--dir", folder]
    with Server(program("redis-server"), *options) as server:
        server.wait_until(lambda: accepts(path))
        yield path


@pytest.fixture(scope="module")
def postgresql(folder: Path) -> Iterator[Path]:
    """The folder of the Unix socket of a PostgreSQL without a port, where `postgres` may do anything."""
    # It refuses to be root.
    account = "postgres" if os.geteuid() == 0 else None
    home = folder / "postgresql"
    home.mkdir()
    if account:
        os.chown(home, pwd.getpwnam(account).pw_uid, -1)
    data = home / "data"
    words = ["--username=postgres", "--auth=trust", "--no-sync", "--no-instructions"]
    subprocess.run(
        [program("initdb"), *words, f"--pgdata={data}"],
        check=True,
        stdout=subprocess.DEVNULL,
        user=account,
        cwd=home,
    )
    options = ["-D", data, "-k", home, "-c", "listen_addresses=", "-c", "fsync=off"]
    with Server(program("postgres"), *options, account=account) as server:
        server.wait_until(
            lambda: accepts(home / ".s.PGSQL.5432") and "ready to accept" in server.log()
        )
        yield home


NGINX_FOLDERS = "client_body", "proxy", "fastcgi", "uwsgi", "scgi"


@pytest.fixture(scope="module")
def nginx(folder: Path) -> Iterator[tuple[str, Path]]:
    """The address of an nginx, and the folder whose files it serves."""
    files = folder / "files"
    files.mkdir()
    (files / "index.html").write_text("served\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        paths = [f"{kind}_temp_path {folder}/{kind};" for kind in NGINX_FOLDERS]
        # Whoever starts it owns the files.
        account = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(f"""
            {account} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
            events {{}}
            http {{
                access_log off; sendfile on; root {files}; {" ".join(paths)}
                server {{ listen {host}:{port}; }}
            }}
        """)
        command = program("nginx"), "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"
        # It takes over a socket that listens by its number: nobody else can get the port meanwhile.
        with Server(*command, listener=listener) as server:
            listener.close()
            server.wait_until(lambda: (folder / "nginx.pid").exists())
            yield f"http://{host}:{port}", files
