"""Who may import whom (docs/architecture.md): arrows point one way only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers.paths import ROOT

PACKAGE = ROOT / "ssl_zoo"

BASE = {
    "types",
    "config",
    "choices",
    "knobs",
    "errors",
    "distributed",
    "console",
    "cpu",
    "precision",
    "hashing",
}

PARTS = BASE | {"losses", "modules", "optim", "evaluation", "data"}

ALLOWED = {
    **{name: BASE for name in BASE},
    "losses": BASE | {"losses"},
    "modules": BASE | {"modules"},
    "optim": BASE | {"optim"},
    "evaluation": BASE | {"evaluation"},
    "data": BASE | {"data"},
    "methods": BASE | {"losses", "modules", "methods"},
    "callbacks": BASE | {"evaluation", "callbacks"},
    "unpickle": BASE,
    "pretrained": PARTS,
    "official": PARTS | {"pretrained", "unpickle"},
    "library": PARTS | {"pretrained", "official"},
    "exported": PARTS | {"pretrained", "official", "unpickle"},
    "checkpoint": PARTS | {"unpickle", "pretrained", "official", "library", "exported"},
    "export": PARTS | {"checkpoint", "exported", "pretrained", "official"},
    "init": PARTS | {"checkpoint", "pretrained"},
    "loggers": BASE,
    "figures": BASE,
    "sweep": BASE,
    "result": BASE | {"sweep"},
    "protocols": PARTS | {"checkpoint", "protocols", "figures"},
    "run": PARTS
    | {"methods", "callbacks", "checkpoint", "init", "loggers", "figures", "sweep", "result"},
    "__init__": {"checkpoint"},
}

TORCH_FREE = {"__init__", "choices", "config", "errors", "knobs", "sweep"}


def modules() -> list[tuple[str, Path]]:
    files = sorted(PACKAGE.rglob("*.py"))
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in files]


def imported(path: Path, top_level: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(("room", "path"), modules(), ids=lambda value: str(value)[-40:])
def test_arrows_point_one_way(room: str, path: Path) -> None:
    for name in imported(path):
        if name.startswith("ssl_zoo."):
            target = name.split(".")[1]
            assert target in ALLOWED[room] or target == room, f"{path} imports {name}"


@pytest.mark.parametrize("room", sorted(TORCH_FREE))
def test_the_command_line_is_free_of_torch(room: str) -> None:
    heavy = ("torch", "pytorch_lightning", "matplotlib", "sklearn", "wandb")
    names = imported(PACKAGE / f"{room}.py", top_level=True)
    assert not [name for name in names if name.startswith(heavy)]


def test_no_test_file_imports_another() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 100
    for path in files:
        relative = [n for n in ast.walk(ast.parse(path.read_text())) if getattr(n, "level", 0)]
        assert not relative, f"{path} has a relative import"
        for name in imported(path):
            tests = [p for p in name.split(".") if p.startswith("test_") or p == "conftest"]
            assert not tests, f"{path} imports {name}: move what they share to tests/helpers"
