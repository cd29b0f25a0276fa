"""Each program ends well, says nothing, and has run on ferrio although it never names it."""

import hashlib
import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ..children import FERRIO, PYTHON, run
from ..examples.programs import Service

PROGRAMS = Path(__file__).parent / "programs"
OURS = {"loop": "ferrio", "task": "ferrio", "future": "ferrio"}


def run_program(name: str, *arguments: object, command: list[str] = FERRIO) -> Any:
    """Run a program, by default on ferrio, and return what it says last."""
    words = [*command, str(PROGRAMS / f"{name}.py"), *map(str, arguments)]
    status, output, errors = run(words, timeout=100)
    assert (status, errors) == (0, ""), errors
    return json.loads(output)


def test_what_a_program_says_on_asyncio() -> None:
    # Else `where` could be wrong about all of them.
    assert set(run_program("websockets_pair", command=PYTHON).values()) == {"asyncio", "_asyncio"}


def test_aiohttp() -> None:
    assert run_program("aiohttp_pair") == OURS


def test_websockets() -> None:
    assert run_program("websockets_pair") == OURS


def test_redis(redis: Path) -> None:
    assert run_program("redis_client", redis) == OURS


def test_asyncpg(postgresql: Path) -> None:
    assert run_program("postgresql_client", postgresql) == OURS


def test_httpx_and_aiohttp_at_nginx(nginx: tuple[str, Path]) -> None:
    url, files = nginx
    content = os.urandom(20_000_000)
    (files / "big").write_bytes(content)
    hashes = [hashlib.sha256(content).hexdigest()]
    assert run_program("http_clients", url) == {**OURS, "hashes": hashes}


@pytest.mark.parametrize("loop", ["auto", "asyncio"])
def test_fastapi_under_uvicorn(loop: str) -> None:
    # Where uvloop is installed, `auto` is uvicorn's word for it.
    loop = "asyncio" if find_spec("uvloop") else loop
    app = "tests.smoke.programs.service:app"
    with Service(*FERRIO, "-m", "uvicorn", app, "--port", 0, "--loop", loop) as service:
        assert run_program("service_client", service.url) == {"here": OURS, "there": OURS}
        service.send_signal(signal.SIGINT)
        assert service.wait() in (0, -signal.SIGINT)
        assert "Finished server process" in service.err.text
        assert "Traceback" not in service.err.text
