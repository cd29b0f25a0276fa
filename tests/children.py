"""Python programs run in processes of their own."""

import subprocess
import sys
from pathlib import Path

PYTHON = [sys.executable]
FERRIO = [sys.executable, "-m", "ferrio"]


def run(
    command: list[str], folder: Path | None = None, timeout: float = 60
) -> tuple[int, str, str]:
    """Run a command to its end, at most `timeout` seconds; return its exit code, output and errors."""
    child = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )
    return child.returncode, child.stdout, child.stderr


def run_code(code: str, *options: str) -> str:
    """Run a program given as a string, which must end well and say nothing on stderr; return its output."""
    status, output, errors = run([*PYTHON, *options, "-c", code])
    assert (status, errors) == (0, ""), errors
    return output
