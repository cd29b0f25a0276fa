"""The runner: what it must notice, on a test module made for it, and that its table is whole."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import test.test_asyncio

from tests.conformance import suites

ROOT = Path(__file__).parents[2]

SUBJECT = """
import asyncio
import _asyncio

class Future(_asyncio.Future):
    pass

class Task(_asyncio.Task, Future):
    pass

class Loop(asyncio.SelectorEventLoop):
    pass
"""

SAMPLE = """
import asyncio
import asyncio.futures
import asyncio.tasks
import atexit
import os
import signal
import threading
import unittest

import sample_subject

class Passes(unittest.TestCase):
    def test_good(self):
        pass

    @unittest.expectedFailure
    def test_expected_to_fail(self):
        self.fail()

    @unittest.skip("the reason of the skip")
    def test_skipped(self):
        self.fail()

class HasNoTests(unittest.TestCase):
    pass

class Mixin:
    def test_mixed_in(self):
        pass

class HasMixin(Mixin, Passes):
    pass

class Fails(unittest.TestCase):
    def test_assertion(self):
        self.fail("the message of the assertion")

    def test_error(self):
        raise LookupError("the message of the error")

    def test_subtests(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertEqual(number, 0)

    @unittest.expectedFailure
    def test_unexpected_success(self):
        pass

class FailsInSetUpClass(Passes):
    @classmethod
    def setUpClass(cls):
        raise LookupError("the message of the set-up")

class SkipsInSetUpClass(Passes):
    @classmethod
    def setUpClass(cls):
        raise unittest.SkipTest("the reason of the set-up")

class Crashes(unittest.TestCase):
    def test_1_good(self):
        pass

    def test_2_crashes(self):
        print("the last words", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    def test_3_after(self):
        pass

class CrashesAtExit(unittest.TestCase):
    def test_good(self):
        atexit.register(os.kill, os.getpid(), signal.SIGSEGV)

class Exits(unittest.TestCase):
    def test_exits(self):
        os._exit(0)

class Hangs(unittest.TestCase):
    def test_1_hangs(self):
        self.the_place_where_it_hangs()

    def the_place_where_it_hangs(self):
        threading.Event().wait()

    def test_2_after(self):
        pass

class InPlace(unittest.TestCase):
    def test_task(self):
        self.assertIs(asyncio.tasks._CTask, sample_subject.Task)

    def test_future(self):
        self.assertIs(asyncio.futures._CFuture, sample_subject.Future)

    def test_public_task(self):
        self.assertIs(asyncio.Task, sample_subject.Task)
        self.assertIs(asyncio.tasks.Task, sample_subject.Task)

    def test_public_future(self):
        self.assertIs(asyncio.Future, sample_subject.Future)
        self.assertIs(asyncio.futures.Future, sample_subject.Future)

    def test_loop(self):
        self.assertIs(asyncio.SelectorEventLoop, sample_subject.Loop)
        with asyncio.Runner() as runner:
            self.assertIs(type(runner.get_loop()), sample_subject.Loop)
        loop = asyncio.new_event_loop()
        loop.close()
        self.assertIs(type(loop), sample_subject.Loop)
"""


class Runner:
    """Runs `python -m tests.conformance` on classes of the sample module."""

    def __init__(self, directory: Path):
        self._directory = directory
        (directory / "sample_subject.py").write_text(SUBJECT)
        (directory / "sample.py").write_text(SAMPLE)

    def __call__(
        self,
        *classes: str,
        in_place: str = "Task",
        more: str = "",
        left_out: str = "",
        subject: str = "sample_subject",
        options: tuple[str, ...] = (),
    ) -> tuple[int, str]:
        """Returns the exit status and all the output."""
        table = self._directory / "suites.toml"
        table.write_text(
            "[[suite]]\n"
            'group = "the group"\n'
            'module = "sample"\n'
            f"classes = {list(classes)}\n"
            f"in_place = ['{in_place}']\n"
            f"{more}\n"
        )
        entries = self._directory / "left_out.toml"
        entries.write_text(left_out)
        return conformance(
            *("--subject", subject, "--suites", str(table), "--left-out", str(entries), *options),
            path=self._directory,
        )


def conformance(*arguments: str, path: Path | None = None) -> tuple[int, str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    process = subprocess.run(
        [sys.executable, "-m", "tests.conformance", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process.returncode, process.stdout


def closing_line(output: str) -> str:
    return output.splitlines()[-1]


@pytest.fixture
def run(tmp_path):
    return Runner(tmp_path)


def test_passed_and_skipped(run):
    status, output = run("Passes")
    assert closing_line(output) == "2 passed, 0 failed, 1 skipped"
    assert "skipped: the reason of the skip\n    sample.Passes@Task.test_skipped\n" in output
    assert status == 0


def test_nothing_skipped(run):
    status, output = run("Passes", options=("-k", "test_good"))
    assert closing_line(output) == "1 passed, 0 failed"
    assert status == 0


def test_failures(run):
    status, output = run("Fails")
    assert closing_line(output) == "0 passed, 4 failed"
    assert "FAILED sample.Fails@Task.test_assertion\n" in output
    assert "AssertionError: the message of the assertion\n" in output
    assert "LookupError: the message of the error\n" in output
    assert "(number=1)" in output
    assert "(number=2)" in output
    assert "FAILED sample.Fails@Task.test_unexpected_success\nunexpected success\n" in output
    assert status == 1


def test_failure_in_set_up_class(run):
    status, output = run("FailsInSetUpClass")
    assert closing_line(output) == "0 passed, 4 failed"
    assert "LookupError: the message of the set-up" in output
    assert "no outcome of test_expected_to_fail, test_good, test_skipped" in output
    assert status == 1


def test_class_that_is_skipped_whole(run):
    status, output = run("SkipsInSetUpClass", "Passes")
    assert closing_line(output) == "2 passed, 1 failed, 4 skipped"
    assert "FAILED sample.SkipsInSetUpClass@Task.(process)\nevery test was skipped\n" in output
    assert "skipped: the reason of the set-up\n" in output
    assert status == 1


def test_crash(run):
    status, output = run("Crashes", "Passes")
    assert closing_line(output) == "3 passed, 2 failed, 1 skipped"
    assert "FAILED sample.Crashes@Task.test_2_crashes\ncrashed: SIGSEGV\n" in output
    assert "FAILED sample.Crashes@Task: no outcome of test_3_after\n" in output
    assert "the last words" in output
    assert "in test_2_crashes\n" in output, "faulthandler's stack"
    assert status == 1


def test_crash_after_the_last_test(run):
    status, output = run("CrashesAtExit")
    assert closing_line(output) == "1 passed, 1 failed"
    assert "crashed: SIGSEGV, after the last test\n" in output
    assert status == 1


def test_silent_exit(run):
    status, output = run("Exits")
    assert closing_line(output) == "0 passed, 1 failed"
    assert "FAILED sample.Exits@Task.test_exits\nexited with status 0 in the midst of it" in output
    assert status == 1


def test_hang(run):
    status, output = run("Hangs", options=("--time-limit", "20"))
    assert closing_line(output) == "0 passed, 2 failed"
    assert "FAILED sample.Hangs@Task.test_1_hangs\nhung: no end within 20 s\n" in output
    assert "FAILED sample.Hangs@Task: no outcome of test_2_after\n" in output
    assert "in the_place_where_it_hangs\n" in output, "faulthandler's stack"
    assert status == 1


@pytest.mark.parametrize(
    ("in_place", "passed"),
    [
        ("Task", {"test_task"}),
        ("Future", {"test_future"}),
        ("Task+Future", {"test_task", "test_future"}),
        ("asyncio", {"test_task", "test_future", "test_public_task", "test_public_future"}),
        ("loop", {"test_loop"}),
        ("Task+loop", {"test_task", "test_loop"}),
    ],
)
def test_what_is_put_in_place(run, in_place, passed):
    _, output = run("InPlace", in_place=in_place, options=("--verbose",))
    assert set(re.findall(r"^    passed +(\w+)$", output, re.MULTILINE)) == passed
    assert closing_line(output) == f"{len(passed)} passed, {5 - len(passed)} failed"


def test_subject_that_does_not_exist(run):
    status, output = run("Passes", subject="no_such_subject")
    assert closing_line(output) == "error: there is no module 'no_such_subject' to test"
    assert status == 1


def test_subject_without_a_task(run):
    status, output = run("Passes", subject="sample")
    assert "exited with status 1, before the first test\n" in output
    assert "AttributeError: module 'sample' has no attribute 'Task'" in output
    assert status == 1


def test_class_that_does_not_exist(run):
    status, output = run("Passes", "NoSuchClass")
    assert closing_line(output) == "error: sample has no class NoSuchClass"
    assert status == 1


def test_class_without_tests(run):
    status, output = run("Passes", "HasNoTests")
    assert closing_line(output) == "error: sample.HasNoTests has no tests to run"
    assert status == 1


def test_class_without_tests_of_its_own(run):
    status, output = run("Passes", more='without = "Passes"')
    assert closing_line(output) == "error: sample.Passes has no tests to run"
    assert status == 1


def test_without(run):
    status, output = run("HasMixin", more='without = "Mixin"', options=("--list",))
    names = ["test_expected_to_fail", "test_good", "test_skipped"]
    assert output.splitlines() == [f"sample.HasMixin@Task.{name}" for name in names]
    assert status == 0


@pytest.mark.parametrize("key", ['since = "3.99"', 'until = "3.10"'])
def test_on_another_python(run, key):
    _, output = run("Passes", more=key)
    assert closing_line(output) == "error: there is no test to run"


def test_all_the_classes_of_a_module(run):
    more = 'other_than = ["Hangs", "InPlace"]'
    status, output = run(more=more, options=("--list",))
    listed = {line.split("@")[0] for line in output.splitlines()}
    assert {"sample.Passes", "sample.Fails", "sample.HasMixin", "sample.Exits"} <= listed
    assert not {"sample.Hangs", "sample.InPlace", "sample.HasNoTests", "sample.Mixin"} & listed
    assert status == 0


def test_other_than_a_class_that_does_not_exist(run):
    status, output = run(more='other_than = ["NoSuchClass"]')
    assert closing_line(output) == "error: sample has no classes ['NoSuchClass'] with tests"
    assert status == 1


def test_left_out(run):
    entry = '[[left_out]]\ntest = "sample.Fails@Task.*"\nreason = "the reason to leave it out"\n'
    status, output = run("Fails", "Passes", left_out=entry)
    assert closing_line(output) == "2 passed, 0 failed, 5 skipped"
    assert "left out: the reason to leave it out\n    sample.Fails@Task.test_assertion\n" in output
    assert status == 0


def test_left_out_that_matches_nothing(run):
    entry = '[[left_out]]\ntest = "sample.Passes@Task.test_gone"\nreason = "r"\n'
    status, output = run("Passes", left_out=entry)
    assert closing_line(output) == (
        "error: left_out.toml: 'sample.Passes@Task.test_gone' matches no test"
    )
    assert status == 1


def test_left_out_on_another_python(run):
    entry = '[[left_out]]\ntest = "sample.Fails@Task.*"\nreason = "r"\npython = ["3.99"]\n'
    _, output = run("Fails", left_out=entry)
    assert closing_line(output) == "0 passed, 4 failed"


def test_left_out_needs_a_reason(run):
    status, output = run("Passes", left_out='[[left_out]]\ntest = "sample.Passes@Task.test_good"\n')
    assert closing_line(output).endswith("lacks ['reason']")
    assert status == 1


def test_pattern_that_matches_nothing(run):
    status, output = run("Passes", options=("-k", "test_gone"))
    assert closing_line(output) == "error: there is no test to run"
    assert status == 1


def test_the_interpreters_own_classes_pass():
    status, output = conformance("--subject", "_asyncio", "-k", "CFutureInheritanceTests@Future")
    assert closing_line(output) == "1 passed, 0 failed"
    assert status == 0


def test_the_table_has_every_class_that_is_built_from_the_c_classes():
    table = {(suite.module, suite.class_name) for suite in suites.load_suites()}
    package = test.test_asyncio
    for path in sorted(Path(package.__path__[0]).glob("test_*.py")):
        for name in classes_built_from_the_c_classes(ast.parse(path.read_text())):
            assert (f"{package.__name__}.{path.stem}", name) in table


def classes_built_from_the_c_classes(tree: ast.AST):
    """The names of the classes of a module that name `_CTask` or `_CFuture`, decorators apart:
    all of them ask there whether the C classes exist."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            parts = [part for child in (*node.bases, *node.body) for part in ast.walk(child)]
            names = {getattr(part, "attr", getattr(part, "value", None)) for part in parts}
            if names & {"_CTask", "_CFuture"}:
                yield node.name
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            yield from classes_built_from_the_c_classes(node)
