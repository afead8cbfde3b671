"""Parts name their arguments; config keys stand in no text of theirs, ssl_zoo/config adds them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.paths import ROOT

ROOMS = ["losses", "modules", "backbones", "optim", "evaluation", "data", "methods"]

GROUPS = (
    "method|dataset|backbone|augmentation|optimizer|scheduler|protocol|monitor|data|callbacks"
    "|logger|strategy|trainer"
)
# method.x, method/x and method=x, but not what follows a dot, as in ssl_zoo.data.x
KEY = re.compile(rf"(?<![\w.])(?:{GROUPS})(?:[./][a-z_]+|=)")


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """The constants that are statements of their own: docstrings, also those of attributes."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Every text and its line; what an f-string fills in reads as x."""
    tree = ast.parse(source)
    skipped = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.lineno, node.value


def offenders(source: str) -> list[tuple[int, str]]:
    return sorted({(line, key) for line, text in texts(source) for key in KEY.findall(text)})


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ('raise UserError("method.momentum is bad")', ["method.momentum"]),
        ('raise UserError(f"method.{name}={value}")', ["method.x"]),
        ('raise UserError("one " f"{two}: see method/loss")', ["method/loss"]),
        ('x = "set dataset=folder", f"protocol={name} learns"', ["dataset=", "protocol="]),
        ('"""Of method.loss."""\ndef f():\n    """By optimizer.lr."""\n    return "lr"', []),
        ('x = "ssl_zoo.data.folder", "module.backbone.conv1", "my_data=3", "batch_size=3"', []),
        ('x = "the method takes a loss", "the data: none", "read/write", f"{data.x}"', []),
    ],
)
def test_what_a_config_key_is(source: str, keys: list[str]) -> None:
    assert [key for _, key in offenders(source)] == keys


@pytest.mark.parametrize("room", ROOMS)
def test_no_config_key_in_the_texts_of_parts(room: str) -> None:
    files: list[Path] = sorted((ROOT / "ssl_zoo" / room).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line}: {key}"
        for path in files
        for line, key in offenders(path.read_text())
    ]
    assert not found, "config keys in texts of parts:\n" + "\n".join(found)
