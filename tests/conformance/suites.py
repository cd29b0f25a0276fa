"""The two tables, suites.toml and left_out.toml, looked up in the interpreter at hand."""

import fnmatch
import importlib
import sys
import tomllib
import unittest
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SUITES = HERE / "suites.toml"
LEFT_OUT = HERE / "left_out.toml"


class TableError(Exception):
    """A table asks for what the interpreter's tests do not have, or is not well formed."""


@dataclass(frozen=True)
class Suite:
    """One test class with one combination in place: what one process runs."""

    group: str
    module: str
    class_name: str
    in_place: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """`test_tasks.CTask_CFuture_Tests@Task+Future`: module, class, what is in place."""
        return f"{self.module.rpartition('.')[2]}.{self.class_name}@{self.in_place}"

    def test_id(self, test: str) -> str:
        """The fully qualified name of one of the tests."""
        return f"{self.name}.{test}"


@dataclass(frozen=True)
class LeftOut:
    """An entry of left_out.toml that counts on this interpreter."""

    pattern: str
    reason: str

    def matches(self, test_id: str) -> bool:
        return fnmatch.fnmatchcase(test_id, self.pattern)


def load_suites(path: Path = SUITES) -> list[Suite]:
    """Expand the table into the suites of this interpreter, each with the names of its tests.

    Imports the test modules, with nothing put in place: that changes what they test, not which
    tests they have. Raises TableError when a module, a class or its tests are missing.
    """
    suites = []
    known = {"group", "module", "classes", "other_than", "in_place", "without", "since", "until"}
    for row in _rows(path, "suite", required={"group", "module", "in_place"}, all=known):
        python = sys.version_info[:2]
        if python < _version(row.get("since", "0")) or python > _version(row.get("until", "99")):
            continue
        module = _import(row["module"])
        aside = _tests(module, row["without"]) if "without" in row else ()
        classes = row.get("classes") or _classes(module, row.get("other_than", ()))
        for in_place in row["in_place"]:
            for class_name in classes:
                tests = _tests(module, class_name, aside)
                suites.append(Suite(row["group"], row["module"], class_name, in_place, tests))
    return suites


def load_left_out(suites: Iterable[Suite], path: Path = LEFT_OUT) -> list[LeftOut]:
    """Read the entries for this interpreter. Raises TableError if one matches none of `suites`."""
    ids = [suite.test_id(test) for suite in suites for test in suite.tests]
    entries = []
    for row in _rows(path, "left_out", {"test", "reason"}, {"test", "reason", "python"}):
        if "python" in row and sys.version_info[:2] not in map(_version, row["python"]):
            continue
        entry = LeftOut(row["test"], row["reason"])
        if not any(map(entry.matches, ids)):
            raise TableError(f"{path.name}: {entry.pattern!r} matches no test")
        entries.append(entry)
    return entries


def _rows(path: Path, key: str, required: set[str], all: set[str]) -> list[dict]:
    """The tables `[[key]]` of a TOML file, checked for their keys."""
    table = tomllib.loads(path.read_text())
    if unknown := table.keys() - {key}:
        raise TableError(f"{path.name}: unknown {sorted(unknown)}")
    for row in table.get(key, []):
        if missing := required - row.keys():
            raise TableError(f"{path.name}: {row} lacks {sorted(missing)}")
        if unknown := row.keys() - all:
            raise TableError(f"{path.name}: {row} has unknown {sorted(unknown)}")
    return table.get(key, [])


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _import(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TableError(
            f"cannot import {name}: {error} (CPython's tests may be a package of their own, "
            "as in Debian's libpython3-testsuite)"
        ) from error


def _classes(module, other_than: Iterable[str]) -> list[str]:
    """The names of the classes of a module that have tests, but for `other_than`."""
    names = [
        name
        for name, cls in vars(module).items()
        if isinstance(cls, type)
        and issubclass(cls, unittest.TestCase)
        and cls.__module__ == module.__name__
        and unittest.defaultTestLoader.getTestCaseNames(cls)
    ]
    if unknown := set(other_than) - set(names):
        raise TableError(f"{module.__name__} has no classes {sorted(unknown)} with tests")
    return [name for name in names if name not in other_than]


def _tests(module, class_name: str, aside: Iterable[str] = ()) -> tuple[str, ...]:
    cls = getattr(module, class_name, None)
    if cls is None:
        raise TableError(f"{module.__name__} has no class {class_name}")
    names = unittest.defaultTestLoader.getTestCaseNames(cls)
    if not (tests := tuple(name for name in names if name not in aside)):
        raise TableError(f"{module.__name__}.{class_name} has no tests to run")
    return tests
