"""Parts name arguments, not config keys, which ssl_zoo/config adds; texts are plain English."""

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

# Turns that had to be read twice; what to write instead.
UNWANTED = {
    r"(?:leave|leaves|left|leaving) (?:it |them )?away": "left out",
    r"hangs? on": "depends on",
    r"shows? in no": "is not revealed by",
    r"so many": "this many, or the number",
    r"(?:made|starts?|fitted) anew": "renewed, is newly initialised, refitted",
    r"a must": "required",
    r"backbone home": "exporting a backbone",
    r"of each a": "one of each",
    r"whatever comes": "any, or regardless of",
    r"(?:do|does) not compare": "is not comparable",
    r"stands? beside": "is beside",
    r"an? (?:optimizer|encoder) of its own": "a separate, or its own",
    r"without a word": "silently",
    r"waited for": "the host waits for",
}
FOLDERS = ["ssl_zoo", "conf", "docs", "benchmarks"]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def unwanted(text: str) -> list[str]:
    """The unwanted turns in a text, also across lines."""
    joined = " ".join(text.replace("#", " ").split())
    return [turn for turn in UNWANTED if re.search(rf"(?i)\b{turn}\b", joined)]


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


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("# a copy, made\n# anew every so many steps", ["so many", "(?:made|starts?|fitted) anew"]),
        ("class folders are a must", ["a must"]),
        ("class folders are a mustard; nobody leaves for home", []),
    ],
)
def test_what_an_unwanted_turn_is(text: str, turns: list[str]) -> None:
    assert unwanted(text) == turns


@pytest.mark.parametrize("place", [*FOLDERS, *PAGES])
def test_texts_are_plain_english(place: str) -> None:
    root = ROOT / place
    kinds = (".py", ".yaml", ".md")
    files = [root] if root.is_file() else [f for f in root.rglob("*") if f.suffix in kinds]
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {turn!r}, better: {UNWANTED[turn]}"
        for path in sorted(files)
        for turn in unwanted(path.read_text())
    ]
    assert not found, "texts that must be read twice:\n" + "\n".join(found)
