"""Files and functions stay small, docstrings not counted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers.paths import ROOT

MAX_FILE, MAX_FUNCTION = 400, 40
PACKAGE = ROOT / "ssl_zoo"
FILES = [
    *sorted((PACKAGE / "training").glob("*.py")),
    *sorted((PACKAGE / "callbacks").glob("*.py")),
    *(PACKAGE / f"{name}.py" for name in ("train", "run_folder", "writing", "metric_names")),
]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines(node: Function) -> int:
    """Of a function, from its name to its end, without its docstring."""
    first = node.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if text else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_the_count_leaves_docstrings_out() -> None:
    (function,) = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body
    assert isinstance(function, ast.FunctionDef)
    assert lines(function) == 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            assert lines(node) <= MAX_FUNCTION, f"{path}: {node.name} has {lines(node)} lines"
