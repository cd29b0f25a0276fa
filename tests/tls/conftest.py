"""The engines, and certificates made for the run."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import ferrio
import pytest
import trustme
from ferrio import _ferrio

from .support import ENGINES, Certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority, and what it and another one have issued."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    for name, issuer, host in [
        ("other", authority, "other.example"),
        ("client", authority, "client.example"),
        ("stranger", stranger, "localhost"),
    ]:
        issued = issuer.issue_cert(host)
        issued.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
    return Certificates(folder)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on one engine, then on the other."""
    before = _ferrio._tls_engine
    if request.param == "openssl" and _ferrio.best_tls_engine() != "openssl":
        pytest.skip("this interpreter's OpenSSL is out of reach")
    _ferrio._tls_engine = request.param
    yield request.param
    _ferrio._tls_engine = before


@pytest.fixture(params=["asyncio", *ENGINES])
def make_loop(request: pytest.FixtureRequest) -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    """Make loops: asyncio's, which shows that the test is right, and ferrio's on each engine."""
    if request.param == "asyncio":
        yield asyncio.SelectorEventLoop
        return
    before = _ferrio._tls_engine
    if request.param == "openssl" and _ferrio.best_tls_engine() != "openssl":
        pytest.skip("this interpreter's OpenSSL is out of reach")
    _ferrio._tls_engine = request.param
    yield ferrio.new_event_loop
    _ferrio._tls_engine = before
