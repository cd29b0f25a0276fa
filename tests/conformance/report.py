"""Prints what came of the suites: a line for each as it ends, and the whole at the end."""

from collections import Counter, defaultdict

from .runner import FAILED, NO_OUTCOME, PASSED, SKIPPED, Result
from .suites import Suite

# How much of the output of a process that crashed or hung is shown: its end has the stacks.
_LINES_SHOWN = 60


class Report:
    """Collects the results of `planned` suites, and `left_out`: for each group, (test, reason)."""

    def __init__(
        self, planned: list[Suite], left_out: dict[str, list[tuple[str, str]]], verbose: bool
    ):
        self._planned = planned
        self._left_out = left_out
        self._verbose = verbose
        self._results: list[Result] = []

    def add(self, result: Result) -> None:
        """Take in a result and print its progress line, with `verbose` also all it consists of."""
        self._results.append(result)
        counts = f"{result.count(PASSED)} passed, {result.count(FAILED, NO_OUTCOME)} failed"
        if skipped := result.count(SKIPPED):
            counts += f", {skipped} skipped"
        total = len(self._planned)
        number = f"[{len(self._results):{len(str(total))}}/{total}]"
        print(f"{number} {result.suite.name}: {counts} ({result.seconds:.1f} s)", flush=True)
        if self._verbose:
            for test, outcome in result.outcomes.items():
                print(f"    {outcome.status:10} {test}")
            if result.output.strip():
                print(result.output)

    def finish(self) -> bool:
        """Print failures, skips, left-out tests and counts. Returns whether all is well."""
        self._results.sort(key=lambda result: self._planned.index(result.suite))
        for result in self._results:
            self._print_failures(result)
        self._print_unrun("skipped", self._skipped())
        self._print_unrun("left out", [pair for pairs in self._left_out.values() for pair in pairs])
        totals = self._print_table()
        left_out = sum(map(len, self._left_out.values()))
        failed = totals[FAILED] + totals[NO_OUTCOME]
        closing = f"{totals[PASSED]} passed, {failed} failed"
        if unrun := totals[SKIPPED] + left_out:
            closing += f", {unrun} skipped"
        print(closing)
        return totals[PASSED] > 0 and failed == 0

    def _print_failures(self, result: Result) -> None:
        for test, outcome in result.outcomes.items():
            if outcome.status == FAILED:
                print(f"\nFAILED {result.suite.test_id(test)}\n{outcome.detail.rstrip()}")
        if no_outcome := [t for t, o in result.outcomes.items() if o.status == NO_OUTCOME]:
            print(f"\nFAILED {result.suite.name}: no outcome of {', '.join(no_outcome)}")
        if result.ended_badly and not self._verbose:
            lines = result.output.splitlines()[-_LINES_SHOWN:]
            print("\n".join(["the end of its output:", *(f"    {line}" for line in lines)]))

    def _skipped(self) -> list[tuple[str, str]]:
        return [
            (result.suite.test_id(test), outcome.detail)
            for result in self._results
            for test, outcome in result.outcomes.items()
            if outcome.status == SKIPPED
        ]

    def _print_unrun(self, what: str, unrun: list[tuple[str, str]]) -> None:
        by_reason = defaultdict(list)
        for test, reason in unrun:
            by_reason[reason].append(test)
        for reason, tests in by_reason.items():
            print(f"\n{what}: {reason}")
            for test in tests:
                print(f"    {test}")

    def _print_table(self) -> Counter:
        """One row a group; returns the sums by status."""
        groups: dict[str, Counter] = defaultdict(Counter)
        for result in self._results:
            groups[result.suite.group].update(o.status for o in result.outcomes.values())
        totals = sum(groups.values(), Counter())
        width = max(map(len, [*groups, *self._left_out]), default=0)
        print(f"\n{'':{width}}  passed  failed  skipped  left out")
        for group in dict.fromkeys([*groups, *self._left_out]):
            left_out = len(self._left_out.get(group, ()))
            self._print_row(f"{group:{width}}", groups[group], left_out)
        self._print_row(f"{'total':{width}}", totals, sum(map(len, self._left_out.values())))
        return totals

    def _print_row(self, label: str, counts: Counter, left_out: int) -> None:
        failed = counts[FAILED] + counts[NO_OUTCOME]
        print(f"{label}  {counts[PASSED]:6}  {failed:6}  {counts[SKIPPED]:7}  {left_out:8}")
