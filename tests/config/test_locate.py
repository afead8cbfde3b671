"""A name that does not import says which part of it is wrong, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from helpers.own_parts import importable
from ssl_zoo.config.locate import locate
from ssl_zoo.types import UserError


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "labx"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "nets.py").write_text("class Tiny:\n    inner = int\n")
    (folder / "needs.py").write_text("import nonumpy\n")
    (folder / "typo.py").write_text("def f(:\n")
    with importable(tmp_path, "labx"):
        yield folder


def test_what_is_there(package: Path) -> None:
    assert locate("torch.nn.Linear") is nn.Linear
    assert locate("labx.nets.Tiny").__name__ == "Tiny"  # its module was not imported before
    assert locate("labx.nets.Tiny.inner") is int


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("laby.Tiny", r"^laby\.Tiny: there is no module laby: install its package, or put"),
        ("labx.nets.Tny", r"labx\.nets has no Tny: did you mean Tiny\?$"),
        ("labx.net.Tiny", r"labx has no net"),
        ("labx.needs.f", r"the import of labx\.needs fails with ModuleNotFoundError: .*'nonumpy'$"),
        ("labx.typo.f", r"the import of labx\.typo fails with SyntaxError: "),
        ("labx..f", r"labx has no empty name$"),
        ("torch.nn.functional.nope.nope", r"torch\.nn\.functional has no nope"),
    ],
)
def test_what_is_not(package: Path, target: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        locate(target)
