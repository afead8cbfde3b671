"""Who may import whom (docs/architecture.md): arrows point one way only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT

PACKAGE = ROOT / "ssl_zoo"

BASE = {
    "types",
    "launched",
    "lock",
    "hashing",
    "distributed",
    "hardware",
    "cores",
    "ramps",
    "metric_names",
    "console",
    "writing",
    "extras",
    "provenance",
    "sealing",
    "stopping",
}

ALLOWED = {
    **{room: BASE for room in BASE},
    "config": BASE,
    "run_folder": BASE,
    "multirun": BASE | {"run_folder"},
    "summary": BASE | {"run_folder", "multirun"},
    "backbones": BASE | {"config"},
    "modules": BASE,
    "losses": BASE,
    "optim": BASE,
    "evaluation": BASE | {"losses"},  # the statistic that LeJEPA trains on
    "figures": BASE,
    "data": BASE,
    "methods": BASE | {"losses", "modules"},
    "search": BASE | {"config", "run_folder", "multirun", "figures"},
    "callbacks": BASE | {"evaluation", "modules", "run_folder", "search"},
    "loggers": BASE | {"evaluation", "run_folder"},
    "checkpoints": BASE | {"config", "run_folder", "multirun", "backbones", "evaluation", "data"},
    "protocols": BASE
    | {"config", "run_folder", "backbones", "optim", "evaluation", "figures", "data"}
    | {"checkpoints", "loggers", "multirun"},
    "training": BASE
    | {"config", "run_folder", "backbones", "modules", "evaluation", "figures", "data", "methods"}
    | {"checkpoints", "callbacks", "loggers", "multirun", "search", "summary"},
    "train": BASE | {"config", "run_folder", "training"},
    "evaluate": BASE | {"config", "protocols"},
    # only what of training imports no torch
    "study": BASE | {"config", "run_folder", "search", "training", "figures", "multirun"},
    "table": BASE | {"config", "run_folder", "summary", "multirun"},
    "cli": BASE | {"config"},
    "export": {"checkpoints", "stopping"},
    "__init__": {"checkpoints"},
}


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


@pytest.mark.parametrize(
    "module",
    [
        "config",
        "run_folder",
        "multirun",
        "training.sweep",
        "search",
        "table",
        "train",
        "evaluate",
        "study.cli",
        "study.report",
    ],
)
def test_the_command_line_is_free_of_torch(module: str) -> None:
    """In a process of its own, since this one has torch."""
    heavy = "{'torch', 'pytorch_lightning', 'matplotlib', 'sklearn', 'wandb', 'optuna'}"
    code = f"import ssl_zoo.{module}, sys; sys.exit(str(sorted({heavy} & sys.modules.keys())))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stderr.strip() == "[]"


@pytest.mark.slow
def test_training_and_evaluation_start_without_what_few_runs_need() -> None:
    heavy = "{'timm', 'wandb', 'sklearn', 'optuna', 'onnxruntime'}"
    code = (
        "import ssl_zoo.training.job, ssl_zoo.protocols, sys\n"
        f"sys.exit(str(sorted({heavy} & sys.modules.keys())))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stderr.strip() == "[]"


def test_no_test_file_imports_another() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    assert len(files) > 100
    for path in files:
        relative = [n for n in ast.walk(ast.parse(path.read_text())) if getattr(n, "level", 0)]
        assert not relative, f"{path} has a relative import"
        for name in imported(path):
            tests = [p for p in name.split(".") if p.startswith("test_") or p == "conftest"]
            assert not tests, f"{path} imports {name}: move what they share to tests/helpers"
