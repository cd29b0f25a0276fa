"""Runs one suite in a process of its own and makes sense of how the process ended."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .suites import Suite

ROOT = Path(__file__).parents[2]

PASSED, SKIPPED, FAILED, NO_OUTCOME = "passed", "skipped", "failed", "no outcome"

# Seconds for the stacks of a process that hangs to be written down, before it is killed.
_GRACE = 30


@dataclass
class Outcome:
    """What came of one test: one of the four words above, and the traceback or the reason."""

    status: str
    detail: str = ""


@dataclass
class Result:
    """What came of one suite. `outcomes` has every test that was asked for, by its name, and
    what failed outside of a test by another name: setUpClass, or `(process)`."""

    suite: Suite
    outcomes: dict[str, Outcome]
    output: str
    seconds: float

    ended_badly: bool

    def count(self, *statuses: str) -> int:
        """How many outcomes have one of the statuses."""
        return sum(outcome.status in statuses for outcome in self.outcomes.values())

    def fail_if_nothing_ran(self) -> None:
        """Make it a failure that every test was skipped: such a suite shows nothing."""
        if self.count(SKIPPED) == len(self.outcomes):
            self.outcomes["(process)"] = Outcome(FAILED, "every test was skipped")


async def run(suite: Suite, tests: list[str], subject: str, limit: float) -> Result:
    """Run `tests` of `suite` on the module `subject`, for at most `limit` seconds."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        events, output = Path(scratch, "events"), Path(scratch, "output")
        events.touch()
        job = {
            "subject": subject,
            "module": suite.module,
            "class_name": suite.class_name,
            "in_place": suite.in_place,
            "tests": tests,
            "events": str(events),
        }
        end = await _spawn(json.dumps(job), output, limit)
        steps = [json.loads(line) for line in events.read_text().splitlines()]
        if not end and not any(step["event"] == "ended" for step in steps):
            end = "exited with status 0 in the midst of it"
        return Result(
            suite,
            _outcomes(steps, tests, end),
            output.read_text(errors="replace"),
            time.monotonic() - begin,
            ended_badly=bool(end),
        )


async def _spawn(job: str, output: Path, limit: float) -> str:
    """Run the child to its end. Returns what is wrong with that end, or an empty string."""
    with output.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", "-X", "faulthandler", "-m", f"{__package__}.child", job),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sink,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        try:
            status = await asyncio.wait_for(process.wait(), limit)
        except TimeoutError:
            # faulthandler writes the stacks of all threads; it may just have ended, though.
            with contextlib.suppress(TimeoutError, ProcessLookupError):
                process.send_signal(signal.SIGABRT)
                await asyncio.wait_for(process.wait(), _GRACE)
            return f"hung: no end within {limit:g} s"
    finally:
        # The whole session: what the tests started goes with them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if status < 0:
        return f"crashed: {signal.Signals(-status).name}"
    return f"exited with status {status}" if status else ""


def _outcomes(steps: list[dict], tests: list[str], end: str) -> dict[str, Outcome]:
    """Put the steps of a process and its end together."""
    outcomes: dict[str, Outcome] = {}
    current = previous = ""
    for step in steps:
        test, event, detail = step["test"], step["event"], step["detail"]
        match event:
            case "started":
                current = test
            case "stopped":
                current, previous = "", test
            case "ended":
                previous = "the last test"
            case _:
                outcomes[test] = _worse(outcomes.get(test), Outcome(event, detail))
    if end and current:
        outcomes[current] = Outcome(FAILED, end)
    elif end:
        where = f"after {previous}" if previous else "before the first test"
        outcomes["(process)"] = Outcome(FAILED, f"{end}, {where}")
    for test in tests:
        outcomes.setdefault(test, Outcome(NO_OUTCOME))
    return outcomes


def _worse(old: Outcome | None, new: Outcome) -> Outcome:
    """Of the outcomes of one test the worst counts; what several failures say is kept."""
    if old is None:
        return new
    if old.status == new.status == FAILED:
        return Outcome(FAILED, f"{old.detail}\n{new.detail}")
    return max(old, new, key=lambda outcome: [PASSED, SKIPPED, FAILED].index(outcome.status))
