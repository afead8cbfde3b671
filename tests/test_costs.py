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


def defining(name: str) -> set[str]:
    """The source files that define or import a name."""
    line = re.compile(rf"^(class|def) {name}\b|^from .* import .*\b{name}\b|^    {name},$", re.M)
    return {
        path.relative_to(ROOT / "ssl_zoo").as_posix()
        for path, text in SOURCES.items()
        if line.search(text) and path.name != "__init__.py"
    }


def configs(target: str) -> set[Path]:
    line = f"_target_: {target}\n"
    return {path for path in (ROOT / "conf").rglob("*.yaml") if line in path.read_text()}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_file_a_line_and_a_yaml(name: str) -> None:
    (file,) = defining(name)
    assert file.startswith("methods/")
    assert len(configs(f"ssl_zoo.methods.{name}")) == 1


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_is_its_file_a_line_and_a_yaml(name: str) -> None:
    (_,) = (file for file in defining(name) if file.startswith("protocols/"))
    assert configs(f"ssl_zoo.protocols.{name}")


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_a_file_a_line_and_a_yaml(name: str) -> None:
    (file,) = defining(name)
    assert file.startswith("backbones/")
    assert len(configs(f"ssl_zoo.backbones.{name}")) == 1


@pytest.mark.parametrize("name", datasets.__all__)
def test_a_data_set_is_a_file_a_line_and_a_yaml(name: str) -> None:
    assert len(configs(f"ssl_zoo.data.datasets.{name}")) == 1


def test_a_metric_on_val_is_a_row() -> None:
    files = {str(path) for path, text in SOURCES.items() if re.search(r'"val/(?!test")\w+"', text)}
    assert files == {str(ROOT / "ssl_zoo" / "metric_names.py")}


def test_the_lists_are_whole() -> None:
    assert len(METHODS) >= 6
    assert len(PROTOCOLS) >= 9
    assert set(BACKBONES) <= set(backbones.__all__)
