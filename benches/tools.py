"""What the benchmark needs beside Python, made before it begins: the load generator, the floor, a
certificate."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent


@dataclass(frozen=True)
class Tools:
    """Paths of the programs and files that the measurements use."""

    load: Path
    """ferrio-load."""
    floor: Path
    """The echo server in C."""
    wrk: str | None
    """wrk, if it is installed."""
    certificate: Path
    """PEM: chain and key of the TLS servers."""
    trusted: Path
    """PEM: the authority that made the certificate."""


def make(directory: Path) -> Tools:
    """Builds the programs and makes a certificate, into `directory` (but cargo's output goes where
    cargo puts it). Raises `subprocess.CalledProcessError` if a build fails."""
    certificate, trusted = make_certificate(directory)
    return Tools(
        load=build_load("--release"),
        floor=build_floor(directory),
        wrk=shutil.which("wrk"),
        certificate=certificate,
        trusted=trusted,
    )


def build_load(*options: str) -> Path:
    """Builds ferrio-load and returns its path."""
    command = ("cargo", "build", "--locked", "-p", "ferrio-load", "--message-format=json", *options)
    built = subprocess.run(
        command, cwd=SOURCE.parent, check=True, stdout=subprocess.PIPE, text=True
    )
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(Path(path) for message in messages if (path := message.get("executable")))


def build_floor(directory: Path) -> Path:
    """Compiles the echo server in C into `directory` and returns its path."""
    program = directory / "echo"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-o", program, SOURCE / "c" / "echo.c"], check=True)
    return program


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost with an RSA key of 2,048 bits, which is what most servers have,
    and whose signature is most of what a handshake costs."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost", key_type=trustme.KeyType.RSA)
    certificate, trusted = directory / "certificate.pem", directory / "trusted.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(trusted))
    return certificate, trusted
