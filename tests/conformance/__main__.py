"""The command: `python -m tests.conformance`, from the root of the repository."""

import argparse
import asyncio
import fnmatch
import importlib.util
import io
import os
import platform
import sys
from collections import defaultdict
from pathlib import Path

from . import runner, suites
from .report import Report


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description="Run the interpreter's own asyncio tests on ferrio's classes.",
    )
    parser.add_argument(
        "--subject",
        default="ferrio",
        help="the module that has the Task and the Future to test (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count(),
        help="how many classes run at a time (default: one a CPU)",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=120,
        metavar="SECONDS",
        help="how long a class may take (default: %(default)s)",
    )
    parser.add_argument(
        "-k",
        dest="pattern",
        metavar="PATTERN",
        help="only the tests whose full name contains PATTERN, or matches it if it has * or ?",
    )
    parser.add_argument("--list", action="store_true", help="print the tests and run none")
    parser.add_argument("--verbose", action="store_true", help="print every test, and the output")
    parser.add_argument("--suites", type=Path, default=suites.SUITES, help="another suites.toml")
    parser.add_argument(
        "--left-out", type=Path, default=suites.LEFT_OUT, help="another left_out.toml"
    )
    return parser.parse_args()


def is_selected(test_id: str, pattern: str | None) -> bool:
    """Whether -k, as `unittest -k` understands it, takes the test."""
    if pattern is None:
        return True
    if "*" in pattern or "?" in pattern:
        return fnmatch.fnmatchcase(test_id, pattern)
    return pattern in test_id


async def run_all(
    plan: list[tuple[suites.Suite, list[str]]], args: argparse.Namespace, report: Report
) -> None:
    """Run the chosen tests of every suite, `args.jobs` suites at a time."""
    free = asyncio.Semaphore(args.jobs)

    async def run_one(suite: suites.Suite, tests: list[str]) -> None:
        async with free:
            result = await runner.run(suite, tests, args.subject, args.time_limit)
        if args.pattern is None:
            result.fail_if_nothing_ran()
        report.add(result)

    async with asyncio.TaskGroup() as group:
        for suite, tests in plan:
            group.create_task(run_one(suite, tests))


def main() -> int:
    args = parse_arguments()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(errors="backslashreplace")  # tests may print what is no character
    try:
        table = suites.load_suites(args.suites)
        entries = suites.load_left_out(table, args.left_out)
    except suites.TableError as error:
        sys.exit(f"error: {error}")

    plan = []
    left_out = defaultdict(list)
    for suite in table:
        tests = []
        for test in suite.tests:
            test_id = suite.test_id(test)
            if not is_selected(test_id, args.pattern):
                continue
            reason = next((entry.reason for entry in entries if entry.matches(test_id)), None)
            if args.list:
                print(test_id if reason is None else f"{test_id}  (left out: {reason})")
            if reason is None:
                tests.append(test)
            else:
                left_out[suite.group].append((test_id, reason))
        if tests:
            plan.append((suite, tests))
    if args.list:
        return 0
    if not plan:
        sys.exit("error: there is no test to run")

    spec = importlib.util.find_spec(args.subject)
    if spec is None:
        sys.exit(f"error: there is no module {args.subject!r} to test")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"{args.subject} ({spec.origin}) on the tests of {python}", flush=True)
    report = Report([suite for suite, _ in plan], left_out, args.verbose)
    asyncio.run(run_all(plan, args, report))
    return 0 if report.finish() else 1


if __name__ == "__main__":
    sys.exit(main())
