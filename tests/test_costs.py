"""What adding a thing costs (CONTRIBUTING.md), counted in what the present ones cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.paths import ROOT
from ssl_zoo import backbones, methods, protocols
from ssl_zoo.data import datasets

SOURCES = {path: path.read_text() for path in sorted((ROOT / "ssl_zoo").rglob("*.py"))}
METHODS = [name for name in methods.__all__ if name != "Method"]
PROTOCOLS = [name for name in protocols.__all__ if name not in ("Protocol", "Candidate")]
# torchvision's and timm's are named where checkpoints of theirs are read, too
BACKBONES = ["ConvNet", "SmallResNet", "googlenet"]


def naming(name: str) -> set[str]:
    """The source files with this name in their code or texts, docstrings and comments left out."""
    word = re.compile(rf"(?<![\w.]){name}\b")
    return {
        path.relative_to(ROOT / "ssl_zoo").as_posix()
        for path, text in SOURCES.items()
        if word.search(re.sub(r'""".*?"""|#.*', "", text, flags=re.DOTALL))
    }


def configs(target: str) -> set[Path]:
    line = f"_target_: {target}\n"
    return {path for path in (ROOT / "conf").rglob("*.yaml") if line in path.read_text()}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_file_a_line_and_a_yaml(name: str) -> None:
    files = naming(name) - {"methods/__init__.py"}
    assert len(files) == 1
    assert len(configs(f"ssl_zoo.methods.{name}")) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_its_file_a_line_and_a_yaml(name: str) -> None:
    files = {file for file in naming(name) if not file.endswith("__init__.py")}
    own = {file for file in files if file.startswith("protocols/")}
    assert len(own) == 1
    assert configs(f"ssl_zoo.protocols.{name}")


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_a_file_a_line_and_a_yaml(name: str) -> None:
    files = naming(name) - {"backbones/__init__.py"}
    assert len(files) == 1
    assert len(configs(f"ssl_zoo.backbones.{name}")) == 1


@pytest.mark.parametrize("name", datasets.__all__)
def test_a_data_set_is_a_file_a_line_and_a_yaml(name: str) -> None:
    assert len(configs(f"ssl_zoo.data.datasets.{name}")) == 1


def test_a_metric_on_val_is_a_row() -> None:
    files = {str(path) for path, text in SOURCES.items() if re.search(r'"val/\w+"', text)}
    assert files == {str(ROOT / "ssl_zoo" / "metric_names.py")}


def test_the_lists_are_whole() -> None:
    assert len(METHODS) >= 6
    assert len(PROTOCOLS) >= 9
    assert set(BACKBONES) <= set(backbones.__all__)
