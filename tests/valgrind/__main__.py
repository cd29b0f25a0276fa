"""Runs the program under valgrind and fails on the first use of memory that is not the program's, or not yet written.

Python's allocator stands aside (`PYTHONMALLOC=malloc`), so that each object is a piece of memory of its own. What
CPython and OpenSSL keep to the end of the process is no error here: `tests/leaks` looks for what is left behind.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import trustme

VALGRIND = [
    "valgrind",
    "--quiet",
    "--error-exitcode=9",
    "--leak-check=no",
    # The children of the program are other programs.
    "--trace-children=no",
    "--child-silent-after-fork=yes",
    "--num-callers=30",
    f"--suppressions={Path(__file__).with_name('python.supp')}",
]


def main() -> int:
    """Run it; return valgrind's exit code, 9 for errors."""
    with tempfile.TemporaryDirectory() as folder:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(Path(folder, "authority.pem")))
        issued.private_key_and_cert_chain_pem.write_to_path(str(Path(folder, "server.pem")))
        command = [*VALGRIND, sys.executable, "-m", "tests.valgrind.program", folder]
        environment = {**os.environ, "PYTHONMALLOC": "malloc"}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
