"""The examples run, in this process, and print what they promise."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.trees import make_classes

EXAMPLES = ROOT / "examples"


def run_example(name: str, monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *args])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_features_into_scikit_learn(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example("features_sklearn.py", monkeypatch, str(trained))
    found = re.search(r"16 features, 5-fold accuracy ([\d.]+)%", capsys.readouterr().out)
    assert found
    assert float(found.group(1)) > 20


@pytest.mark.slow
def test_the_bare_loop_learns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example("bare_loop.py", monkeypatch)
    first, second = (float(line.split()[1]) for line in capsys.readouterr().out.splitlines())
    assert second < first


@pytest.mark.slow
def test_a_backbone_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example("own_backbone.py", monkeypatch)
    found = re.search(r"kNN on val: ([\d.]+)%", capsys.readouterr().out)
    assert found
    assert float(found.group(1)) > 50


@pytest.mark.slow
def test_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "photos"
    for split in ("train", "test"):
        make_classes(root / split, ["cats", "dogs"], per_class=20, size=32)
    cheap = ["epochs=1", "batch_size=8", "backbone.widths=[8,16]", "backbone.strides=[2,2]"]
    run_example("own_data.py", monkeypatch, str(root), *cheap, "precision=32-true")
    assert "most like" in capsys.readouterr().out
    assert (tmp_path / "runs/own/evaluation/knn.json").is_file()


@pytest.mark.slow
def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names: dict[str, object] = {"__name__": "notebook"}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "notebook", "exec"), names)
    assert names["features"].shape == (100, 256)  # type: ignore[attr-defined]
    assert len(list((tmp_path / "runs").iterdir())) == 1  # where nothing was said, a new folder
