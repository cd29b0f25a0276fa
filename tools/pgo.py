"""Build the wheel with a profile: instrumented, put to work, and compiled again with what was counted.

    python tools/pgo.py FOLDER      # the wheel is in FOLDER/wheels, the builds are in FOLDER/pgo

Runs in the virtual environment that has maturin and what tools/training.py imports. What merges the counts,
llvm-profdata, has to be of the LLVM that rustc was built with.
"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

TRAINING = Path(__file__).with_name("training.py")
PATIENCE = 900
"""Seconds that the training may take; it takes some twenty."""


class Missing(Exception):
    """A program is not there; the argument says which, and where it comes from."""


def output(*command: str) -> str:
    """What a program prints. Raises `subprocess.CalledProcessError` if it fails."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def find_profdata() -> str:
    """The llvm-profdata of rustc's LLVM: from rustup, or from the distribution. Raises Missing."""
    found = re.search(r"^LLVM version: (\d+)", output("rustc", "-vV"), re.MULTILINE)
    version = found[1] if found else "?"
    installed = Path(output("rustc", "--print", "sysroot").strip()).glob(
        "lib/rustlib/*/bin/llvm-profdata"
    )
    names = [*map(str, installed), f"llvm-profdata-{version}", "llvm-profdata"]
    for program in filter(None, map(shutil.which, names)):
        told = subprocess.run([program, "merge", "--version"], capture_output=True, text=True)
        if f"version {version}." in told.stdout:
            return program
    raise Missing(
        f"llvm-profdata {version} is not installed: rustup component add llvm-tools, "
        f"or on Debian apt-get install llvm-{version}"
    )


def build(folder: Path, wheels: Path, *flags: str) -> Path:
    """Builds the wheel into `wheels` with more flags for rustc, and returns its path."""
    shutil.rmtree(wheels, ignore_errors=True)
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(folder),
        # Unlike RUSTFLAGS it may have blanks in a path.
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join([*os.environ.get("RUSTFLAGS", "").split(), *flags]),
        "FERRIO_PROFILED": "1",
    }
    command = [
        *(sys.executable, "-m", "maturin", "build", "--profile", "release", "--locked"),
        *("--auditwheel", "skip", "--interpreter", sys.executable, "--out", str(wheels)),
    ]
    subprocess.run(command, check=True, env=environment)
    [wheel] = wheels.glob("*.whl")
    return wheel


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 2 if a program is missing."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    work = folder / "pgo"
    counts, profile, package = work / "counts", work / "merged.profdata", work / "package"
    try:
        profdata = find_profdata()
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    print("==> 1 of 3: an instrumented build", flush=True)
    instrumented = build(work / "instrumented", work / "wheels", f"-Cprofile-generate={counts}")
    # What the compilation itself has run: build scripts and procedural macros.
    shutil.rmtree(counts, ignore_errors=True)
    shutil.rmtree(package, ignore_errors=True)
    with zipfile.ZipFile(instrumented) as archive:
        archive.extractall(package)
    print("==> 2 of 3: putting it to work", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(package)}
    subprocess.run([sys.executable, TRAINING], check=True, env=environment, timeout=PATIENCE)
    subprocess.run([profdata, "merge", f"--output={profile}", counts], check=True)
    print("==> 3 of 3: a build with the profile", flush=True)
    print(build(work / "optimised", folder / "wheels", f"-Cprofile-use={profile}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
