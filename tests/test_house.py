"""What keeps the house readable: no long file, no long function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import ROOT

FILES = sorted((ROOT / "ssl_zoo").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 40
Function = ast.FunctionDef | ast.AsyncFunctionDef


def docstring_lines(node: ast.AST) -> int:
    """Of all docstrings at or below a node."""
    total = 0
    for inner in ast.walk(node):
        if isinstance(inner, ast.Module | ast.ClassDef | Function) and ast.get_docstring(inner):
            first = inner.body[0]
            assert first.end_lineno is not None
            total += first.end_lineno - first.lineno + 1
    return total


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Each function's name and its lines, docstrings not counted."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1 - docstring_lines(node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "ssl_zoo")))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") - docstring_lines(tree) <= LONGEST_FILE
    long = {name: lines for name, lines in functions(tree) if lines > LONGEST_FUNCTION}
    assert not long, f"{path}: {long}"


def test_the_measure_leaves_docstrings_out() -> None:
    tree = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    x = 1\n    return x\n')
    assert dict(functions(tree)) == {"f": 3}
