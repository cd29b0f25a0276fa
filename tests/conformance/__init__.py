"""Runs CPython's own asyncio tests on ferrio.

CPython installs `test.test_asyncio` with the interpreter, and builds most of its test classes
from the C implementations (`asyncio.tasks._CTask`, `asyncio.futures._CFuture`). This package
puts ferrio's classes in their place before a test module is imported, so each of those classes
tests ferrio exactly as it tests C, with whatever else it adds or patches for C.

    python -m tests.conformance

- `suites.toml`: which classes run, with what in place of what.
- `left_out.toml`: which tests do not run, each with its reason.
- `suites.py` reads the two and looks the tests up in the interpreter at hand.
- `runner.py` runs one class in a process of its own; `child.py` is that process.
- `report.py` prints what came of it.
"""
