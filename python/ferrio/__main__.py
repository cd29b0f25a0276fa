"""`python -m ferrio`: run any program on ferrio, unmodified."""

import builtins
import io
import linecache
import os
import pkgutil
import runpy
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import ModuleType, TracebackType
from typing import Any, NoReturn

from . import __version__
from ._patch import patch

USAGE = """\
usage: python -m ferrio [-h] [-V] (script | -m module | -c code) [argument ...]

Run a Python program on ferrio: its asyncio is patched as by ferrio.patch().

  script          a file, or a folder or zip archive with a __main__.py
  -m module       a module or package, as python -m runs it
  -c code         a program given as a string
  argument        what the program finds in sys.argv
  -h, --help      print this and exit
  -V, --version   print ferrio's version and exit

Options of the interpreter stand before -m ferrio: python -X dev -m ferrio script
"""


def main(arguments: Sequence[str]) -> None:
    """Run what the command line tells: `arguments` are those behind `python -m ferrio`.

    The program becomes this process's `__main__`; what it raises is raised, SystemExit too.
    """
    match arguments:
        case ["-h" | "--help", *_]:
            sys.stdout.write(USAGE)
        case ["-V" | "--version", *_]:
            print("ferrio", __version__)
        case ["-m", name, *rest]:
            run_module(name, rest)
        case ["-c", code, *rest]:
            run_code(code, rest)
        case ["-m" | "-c" as option]:
            refuse(f"argument expected for the {option} option")
        case []:
            refuse("a script, -m or -c is expected")
        case [option, *_] if option.startswith("-"):
            refuse(f"unknown option {option}")
        case [path, *rest]:
            run_script(path, rest)


def refuse(message: str) -> NoReturn:
    """Exit with a word about the command line, and with Python's exit code for a wrong one."""
    sys.stderr.write(f"{USAGE}\npython -m ferrio: {message}\n")
    sys.exit(2)


def run_module(name: str, arguments: list[str]) -> None:
    """Run a module as `python -m` does."""
    new_main()
    # Python puts the module's file in the first place once it has found it.
    sys.argv = ["-m", *arguments]
    run(runpy._run_module_as_main, name)  # type: ignore[attr-defined]


def run_code(code: str, arguments: list[str]) -> None:
    """Run a program given as a string, as `python -c` does."""
    sys.argv = ["-c", *arguments]
    set_first_path("")
    if sys.version_info >= (3, 14):
        code = textwrap.dedent(code)
    if sys.version_info >= (3, 13):
        # Tracebacks show its lines.
        lines = [f"{line}\n" for line in code.splitlines()]
        linecache.cache["<string>"] = len(code), None, lines, "<string>"
    program = new_main()
    program.__loader__ = BuiltinImporter
    run_source(code, "<string>", program)


def run_script(path: str, arguments: list[str]) -> None:
    """Run a file, or a folder or archive with a `__main__.py`, as `python path` does."""
    sys.argv = [path, *arguments]
    # As it was given, behind the working folder: Python leaves the dots in it.
    file = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(path) is not None:
        if sys.flags.safe_path:
            sys.path.insert(0, file)
        else:
            set_first_path(file)
        new_main()
        run(runpy._run_module_as_main, "__main__", False)  # type: ignore[attr-defined]
        return
    try:
        with io.open_code(file) as stream:
            code = pkgutil.read_code(stream)
            stream.seek(0)
            source = stream.read()
    except OSError as error:
        message = f"can't open file {file!r}: [Errno {error.errno}] {error.strerror}"
        sys.stderr.write(f"{sys.orig_argv[0]}: {message}\n")
        sys.exit(2)
    set_first_path(os.path.dirname(os.path.realpath(path)))
    program = new_main()
    program.__file__ = file
    loader = SourcelessFileLoader if code else SourceFileLoader
    program.__loader__ = loader("__main__", file)
    if sys.version_info < (3, 15):
        program.__cached__ = None  # type: ignore[attr-defined]
    if code:
        run(exec, code, program.__dict__)
    else:
        run_source(source, file, program)


def new_main() -> ModuleType:
    """Give the program a `__main__` of its own, and an asyncio with ferrio's names."""
    patch()
    program = sys.modules["__main__"] = ModuleType("__main__")
    program.__builtins__ = builtins  # type: ignore[attr-defined]
    if sys.version_info < (3, 14):
        program.__annotations__ = {}
    return program


def set_first_path(path: str) -> None:
    """Put the program's place where Python put that of `-m ferrio`, unless it was told to put none."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def run_source(source: str | bytes, file: str, program: ModuleType) -> None:
    """Compile a program and run it in the module `program`."""
    code = run(compile, source, file, "exec", 0, True)
    run(exec, code, program.__dict__)


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Call the function. The traceback of what it raises begins below this call when Python prints it."""
    try:
        return function(*args)
    except BaseException as error:
        if error.__traceback__ is not None:
            sys.excepthook = _begin_at(error, error.__traceback__.tb_next)
        raise


def _begin_at(
    error: BaseException, begin: TracebackType | None
) -> Callable[[type[BaseException], BaseException, TracebackType | None], Any]:
    """The program's excepthook, which sees nothing of this module."""
    show = sys.excepthook

    def excepthook(
        kind: type[BaseException], value: BaseException, traceback: TracebackType | None
    ) -> None:
        if value is error:
            traceback = value.__traceback__ = begin
        show(kind, value, traceback)

    return excepthook


if __name__ == "__main__":
    main(sys.argv[1:])
