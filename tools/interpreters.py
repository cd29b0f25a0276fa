"""Find the CPython interpreters that ferrio is tested on.

    python tools/interpreters.py                    # list what is found and what is left out
    python tools/interpreters.py key                # a folder name for the running interpreter
    python tools/interpreters.py each COMMAND...    # COMMAND with PYTHON=... for each of them

Looked at, in this order: the interpreter that runs this script, every folder on PATH, pyenv's
versions, and the Debian sid root (tools/sid-root) if it has been made. The first of each minor
version is taken; a debug build counts as a version of its own (3.11d). A candidate that does not
start, such as pyenv's shim of a version that is not selected, is left out with its reason.

`each` goes on after a failure, prints a table at the end and exits with 1 if any command failed.
`--only 3.12,3.11d` restricts it, and then a version that was not found is a failure too.
"""

from __future__ import annotations  # so that an old Python gets as far as being told so

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUPPORTED = range(11, 16)
SID_ROOT = Path(__file__).with_name("sid-root")

# Runs in the candidate, which may be any Python at all.
PROBE = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "python": os.path.realpath(sys.executable),
    "implementation": platform.python_implementation(),
    "version": list(sys.version_info[:3]),
    "flags": getattr(sys, "abiflags", ""),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""


class LeftOut(Exception):
    """The candidate is no interpreter to test on; the argument is the reason."""


@dataclass(frozen=True)
class Interpreter:
    """An interpreter and the words that must come before a command to run it there."""

    python: str
    minor: int
    micro: int
    flags: str
    enter: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The minor version with its build flags, such as `3.12` or `3.11d`."""
        return f"3.{self.minor}{self.flags}"

    @property
    def key(self) -> str:
        """The whole version with its build flags: one virtual environment and one target each."""
        return f"3.{self.minor}.{self.micro}{self.flags}"

    def command(self, words: list[str]) -> list[str]:
        """Return `words` as the command that runs them with this interpreter as PYTHON."""
        return [*self.enter, *words, f"PYTHON={self.python}"]


def probe(python: str, enter: tuple[str, ...] = ()) -> Interpreter:
    """Start `python` and return what it says of itself; raise LeftOut if it cannot be used."""
    try:
        run = subprocess.run(
            [*enter, python, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOut(f"does not start: {error}") from None
    if run.returncode:
        said = run.stderr.strip().splitlines() or ["no message"]
        raise LeftOut(f"does not start: {said[0]}")
    told = json.loads(run.stdout)
    major, minor, micro = told["version"]
    if told["implementation"] != "CPython":
        raise LeftOut(f"{told['implementation']}, not CPython")
    if major != 3 or minor not in SUPPORTED:
        raise LeftOut(f"version {major}.{minor}.{micro}")
    if told["free_threaded"]:
        raise LeftOut("a free-threaded build")
    return Interpreter(told["python"], minor, micro, told["flags"], enter)


def candidates() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the places where an interpreter may be, each with the words that enter there."""
    yield sys.executable, ()
    named = re.compile(r"python3(\.\d+)?(-dbg|d)?")
    for folder in os.get_exec_path():
        if os.path.isdir(folder):
            for name in sorted(filter(named.fullmatch, os.listdir(folder))):
                yield os.path.join(folder, name), ()
    try:
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
    except OSError:
        root = ""
    if root:
        for python in sorted(Path(root, "versions").glob("3.*/bin/python3")):
            yield str(python), ()
    if SID_ROOT.exists() and not subprocess.run([SID_ROOT, "ready"]).returncode:
        for minor in (14, 15):
            yield f"python3.{minor}", (str(SID_ROOT), "run")


def find() -> tuple[list[Interpreter], list[tuple[str, str]]]:
    """Return the interpreters to test on by version, and the others each with a reason."""
    found: dict[str, Interpreter] = {}
    left_out: list[tuple[str, str]] = []
    for python, enter in candidates():
        try:
            interpreter = probe(python, enter)
        except LeftOut as reason:
            left_out.append((python, str(reason)))
            continue
        first = found.setdefault(interpreter.name, interpreter)
        if first.python != interpreter.python:
            left_out.append((python, f"{interpreter.key}, and {first.key} is taken already"))
    return sorted(found.values(), key=lambda i: (i.minor, i.flags)), left_out


def show() -> int:
    """Print the interpreters that were found and those that were left out."""
    found, left_out = find()
    for interpreter in found:
        print(f"{interpreter.key:10} {' '.join((*interpreter.enter, interpreter.python))}")
    for python, reason in left_out:
        print(f"{'left out':10} {python}: {reason}")
    return 0 if found else 1


def each(words: list[str], only: list[str]) -> int:
    """Run the command `words` for each interpreter, or for those whose name is in `only`."""
    found, _ = find()
    missing = [name for name in only if name not in {i.name for i in found}]
    rows = [(name, "not found", 0.0) for name in missing]
    for interpreter in found:
        if only and interpreter.name not in only:
            continue
        command = interpreter.command(words)
        print(f"==> CPython {interpreter.key}: {' '.join(command)}", flush=True)
        start = time.monotonic()
        status = subprocess.run(command).returncode
        result = "passed" if not status else f"failed with exit code {status}"
        rows.append((interpreter.key, result, time.monotonic() - start))
    print("==> summary")
    for name, result, seconds in rows:
        print(f"CPython {name:10} {result} ({seconds:.0f} s)")
    return 0 if rows and all(result == "passed" for _, result, _ in rows) else 1


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.set_defaults(do="list")
    verbs = parser.add_subparsers(dest="do")
    verbs.add_parser("list", help="list what is found and what is left out")
    verbs.add_parser("key", help="print a folder name for the running interpreter")
    for_each = verbs.add_parser("each", help="run a command for each interpreter")
    for_each.add_argument("--only", default="", help="names, such as 3.12,3.11d")
    for_each.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args()
    if options.do == "each":
        return each(options.words, [name for name in options.only.split(",") if name])
    if options.do == "key":
        try:
            print(probe(sys.executable).key)
        except LeftOut as reason:
            print(f"{sys.executable}: {reason}; ferrio needs CPython 3.11 to 3.15", file=sys.stderr)
            return 1
        return 0
    return show()


if __name__ == "__main__":
    sys.exit(main())
