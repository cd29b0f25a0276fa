"""What the examples say about themselves."""

import ast

import pytest

from .programs import EXAMPLES, PYTHON, Program

SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_what_the_docstring_tells(mode: str, script: str) -> None:
    path = EXAMPLES / script
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    summary = docstring.splitlines()[0]
    with Program(*PYTHON[mode], path, "--help") as program:
        program.finish(0)
        assert program.out.lines[0].startswith(f"usage: {script} ")
        assert summary in program.out.text


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_is_written_for_asyncio_alone(script: str) -> None:
    tree = ast.parse((EXAMPLES / script).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "asyncio" in imported
    assert "ferrio" not in imported
