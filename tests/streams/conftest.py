"""What all tests of streams share."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ferrio
import pytest
import trustme

from tests.streams.support import PATIENCE


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    """Run a coroutine on ferrio's loop, at most for as long as nothing takes unless it hangs."""
    with asyncio.Runner(loop_factory=ferrio.new_event_loop) as runner:
        yield lambda coro: runner.run(asyncio.wait_for(coro, PATIENCE))


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ssl.SSLContext]:
    """The contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    file: Path = tmp_path_factory.mktemp("certificates") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    client = ssl.create_default_context(cafile=str(file))
    return {"server": server, "client": client}
