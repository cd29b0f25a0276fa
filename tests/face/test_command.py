"""`python -m ferrio …` runs a program as `python …` does, on ferrio's loop."""

import os
import py_compile
import sys
import zipfile
from pathlib import Path

import ferrio
import pytest

from ..children import FERRIO, PYTHON, run

SHOW = """\
import os, sys
print(sys.argv, sys.path[0], __name__, __package__, __doc__, type(__loader__).__name__)
print(globals().get("__file__"), globals().get("__cached__", "none"), __spec__ and __spec__.name)
print(sorted(globals()), __builtins__)
print(sys.modules["__main__"].__dict__ is globals())
"""
RAISE = "def f():\n    raise ValueError('no')\n\ntry:\n    f()\nexcept ValueError:\n    1 / 0\n"


def files(folder: Path) -> None:
    """The programs that the command lines below name."""
    programs: dict[str, str | bytes] = {
        "show.py": SHOW,
        "raise.py": RAISE,
        "syntax.py": "def f(:\n",
        "latin.py": b"# coding: latin-1\nprint('\xe4')\n",
        "exit3.py": "raise SystemExit(3)",
        "exit_text.py": "import sys; sys.exit('good bye')",
        "interrupt.py": "raise KeyboardInterrupt",
        "empty.py": "",
        "sibling.py": "import neighbour; print(neighbour.__file__)",
        "neighbour.py": "",
        "hook.py": "import sys, traceback\n"
        "sys.excepthook = lambda t, v, tb: print(t, v, traceback.extract_tb(tb))\n1 / 0\n",
        "late.py": "import atexit, sys\n"
        "atexit.register(lambda: print(__name__, sys.modules['__main__'].__dict__ is globals()))\n",
        "pickled.py": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))))\n",
        "warn.py": "import warnings\nwarnings.warn('old', DeprecationWarning)\n",
        "group.py": "raise ExceptionGroup('two', [ValueError(1), TypeError(2)])\n",
        "thread.py": "import threading\nthreading.Thread(target=lambda: print(__name__)).start()\n",
        "annotated.py": "import sys\nx: int = 1\nprint(sys.modules[__name__].__annotations__)\n",
        "doc.py": '"""Its words."""\nprint(__doc__)\n',
        "package/__init__.py": "",
        "package/__main__.py": SHOW,
        "package/module.py": SHOW,
        "package/broken.py": RAISE,
        "package/missing.py": "import nowhere",
        "headless/__init__.py": "",
        "folder/__main__.py": SHOW,
        "hollow/other.py": "",
    }
    for name, text in programs.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "linked.py").symlink_to(folder / "package" / "module.py")
    py_compile.compile(str(folder / "show.py"), cfile=str(folder / "compiled.pyc"))
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", SHOW)
        archive.writestr("__init__.py", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("programs")
    files(path)
    return path


@pytest.mark.parametrize(
    "command",
    [
        "show.py",
        "show.py -x --help -m 1",
        "./show.py",
        "package/module.py a",
        "linked.py",
        "compiled.pyc b",
        "raise.py",
        "syntax.py",
        "latin.py",
        "exit3.py",
        "exit_text.py",
        "interrupt.py",
        "empty.py",
        "sibling.py",
        "hook.py",
        "late.py",
        "pickled.py",
        "warn.py",
        "group.py",
        "thread.py",
        "annotated.py",
        "doc.py",
        "nowhere.py",
        "folder x",
        "./folder",
        "hollow",
        "archive.zip y",
        "-m package.module -c 1",
        "-m package",
        "-m package.broken",
        "-m package.missing",
        "-m headless",
        "-m nowhere",
        "-m package.nowhere",
        "-m show",
        "-c SHOW a -m b",
        "-c RAISE",
        "-c SYNTAX",
        "-c INDENTED",
        "-c EMPTY",
    ],
)
def test_a_program_can_t_tell(folder: Path, command: str) -> None:
    compare(folder, command)


@pytest.mark.parametrize("command", ["show.py", "folder", "archive.zip", "-m package", "-c SHOW"])
@pytest.mark.parametrize("option", ["-P", "-Werror", "-OO", "-Xdev"])
def test_nor_with_an_option_of_the_interpreter(folder: Path, command: str, option: str) -> None:
    compare(folder, command, option)


def compare(folder: Path, command: str, *options: str) -> None:
    """Run a command line behind `python` and behind `python -m ferrio`: what is seen must be equal."""
    code = {
        "SHOW": SHOW,
        "RAISE": RAISE,
        "SYNTAX": "1 +",
        "INDENTED": "  print(1)\n  print(2)",
        "EMPTY": "",
    }
    words = [code.get(word, word) for word in command.split()]
    expected = run([*PYTHON, *options, *words], folder)
    assert run([PYTHON[0], *options, *FERRIO[1:], *words], folder) == expected


def test_the_program_s_own_frames_are_all_that_is_seen(folder: Path) -> None:
    # Else a new frame that both show would go unnoticed.
    status, _, errors = run([*FERRIO, "raise.py"], folder)
    assert status == 1
    assert errors.count("File ") == 3
    assert "ferrio" not in errors
    assert "runpy" not in errors


LOOPS = """\
import asyncio, warnings

def show(loop):
    print(type(loop).__mro__[0].__module__.partition(".")[0], end=" ")

async def main():
    show(asyncio.get_running_loop())
    show(asyncio.get_event_loop())

asyncio.run(main())
with asyncio.Runner() as runner:
    show(runner.get_loop())
    runner.run(main())
loop = asyncio.new_event_loop()
show(loop)
asyncio.set_event_loop(loop)
show(asyncio.get_event_loop())
loop.run_until_complete(main())
loop.close()
"""


@pytest.mark.parametrize("how", ["script", "-m", "-c"])
def test_asyncio_makes_ferrio_s_loop_and_nothing_is_deprecated(tmp_path: Path, how: str) -> None:
    (tmp_path / "loops.py").write_text(LOOPS)
    words = {"script": ["loops.py"], "-m": ["-m", "loops"], "-c": ["-c", LOOPS]}[how]
    status, output, errors = run([sys.executable, "-W", "error", *FERRIO[1:], *words], tmp_path)
    assert (status, errors) == (0, "")
    assert output.split() == ["ferrio"] * 9


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option: str) -> None:
    status, output, errors = run([*FERRIO, option])
    assert (status, errors) == (0, "")
    assert output.startswith("usage: python -m ferrio ")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str) -> None:
    assert run([*FERRIO, option]) == (0, f"ferrio {ferrio.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a script, -m or -c is expected"),
        (["-m"], "argument expected for the -m option"),
        (["-c"], "argument expected for the -c option"),
        (["-"], "unknown option -"),
        (["-x", "show.py"], "unknown option -x"),
    ],
)
def test_what_is_no_program_gets_the_usage(words: list[str], message: str) -> None:
    status, output, errors = run([*FERRIO, *words])
    assert (status, output) == (2, "")
    assert errors.startswith("usage: ")
    assert errors.endswith(f"python -m ferrio: {message}\n")


def test_an_unreadable_script_is_named(tmp_path: Path) -> None:
    path = tmp_path / "loop.py"
    os.symlink(path, path)
    assert run([*FERRIO, "loop.py"], tmp_path) == run([*PYTHON, "loop.py"], tmp_path)
