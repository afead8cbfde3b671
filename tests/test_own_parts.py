"""A package outside of the repository, with one part of each kind, goes the whole way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import ssl_zoo
from helpers.command_line import command_line
from helpers.own_parts import commands, importable, write_own_parts
from helpers.paths import ROOT
from ssl_zoo.config import trusting
from ssl_zoo.evaluate import evaluate
from ssl_zoo.train import train
from ssl_zoo.types import UserError

CHEAP = ["epochs=1", "batch_size=32", "precision=32-true"]
OWN = [
    *("method=my_vicreg", "backbone=two_layers", "dataset=array", "augmentation=flip"),
    *("callbacks=[default,feature_norm]", "name=mine", *CHEAP),
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_own_parts(tmp_path_factory.mktemp("own"))
    with importable(folder, "mylab"):
        yield folder


def searched(own: Path) -> str:
    return f"hydra.searchpath=[file://{own}/myconf]"


@pytest.fixture(scope="module")
def mine(own: Path) -> Path:
    folder = own / "trained"
    data = f"dataset.root={own}/images.npz"
    with command_line("train", searched(own), *OWN, data, f"run_dir={folder}") as cfg:
        metrics = train(cfg)
    assert metrics["val/feature_norm"] > 0  # the callback's own metric
    assert "train/variance" in metrics  # the method's
    return folder


def test_own_parts_are_trained_and_evaluated(own: Path, mine: Path) -> None:
    overrides = [searched(own), f"ckpt={mine}", "protocol=[knn,centroid]", "baselines=false"]
    with command_line("evaluate", *overrides, "trust=[mylab]") as cfg:
        written = evaluate(cfg)
    assert written["knn"]["rows"]["pretrained"]["test_top1"] > 0.1
    assert 0 <= written["centroid"]["rows"]["pretrained"]["test_top1"] <= 1


def test_without_trust_nothing_of_the_package_is_called(own: Path, mine: Path) -> None:
    line = r"calls mylab\.backbone\.TwoLayers, .* give trust=\[mylab\]"
    with pytest.raises(UserError, match=line):
        ssl_zoo.load_backbone(mine)
    with (
        command_line("evaluate", f"ckpt={mine}", "baselines=false") as cfg,
        pytest.raises(UserError, match=line),
    ):
        evaluate(cfg)
    with (
        command_line("train", f"resume={mine}") as cfg,
        pytest.raises(UserError, match=r"give trust=\[mylab\]"),
    ):
        train(cfg)
    saved = (mine / "config.yaml").read_text()
    assert "trust" not in saved


def test_each_way_to_trust(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.zeros(2, 3, 32, 32)
    by_argument, _ = ssl_zoo.load_backbone(mine, trust=["mylab"])
    with trusting("mylab"):
        inside, _ = ssl_zoo.load_backbone(mine)
    monkeypatch.setenv("SSL_ZOO_TRUST", "other, mylab")
    by_variable, _ = ssl_zoo.load_backbone(mine)
    assert by_argument(images).equal(inside(images))
    features = ssl_zoo.embed(images.byte(), mine, trust=["mylab"])
    assert features.shape == (2, 32)
    assert by_argument(images).equal(by_variable(images))
    with pytest.raises(UserError, match=r"^trust=os;: give names of packages"):
        ssl_zoo.load_backbone(mine, trust=["os;"])


@pytest.mark.slow
def test_the_commands_of_the_docs(own: Path, tmp_path: Path) -> None:
    (tmp_path / "myconf").symlink_to(own / "myconf")
    (tmp_path / "images.npz").symlink_to(own / "images.npz")
    env = os.environ | {"PYTHONPATH": f"{own}{os.pathsep}{ROOT}"}
    said = []
    for command in commands():
        cheap = " ".join(CHEAP) if "train.py --config-dir" in command else ""
        typed = command.replace("python ", f"{sys.executable} ", 1)
        for program in ("train.py", "evaluate.py"):
            typed = typed.replace(f" {program}", f" {ROOT / program}")
        ran = subprocess.run(
            f"{typed} {cheap}", shell=True, cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        said.append(ran.stdout + ran.stderr)
    assert "runs/mine trust=[mylab]" in said[0]
    assert "largest relative difference" in said[2]
    assert "starts from these weights" in said[3]
    assert "finished" in said[4]
    backbone, _ = ssl_zoo.load_backbone(tmp_path / "mine.safetensors", trust=["mylab"])
    assert backbone.num_features == 32


@pytest.mark.slow
def test_options_of_the_user_are_listed_and_named(own: Path) -> None:
    env = os.environ | {"PYTHONPATH": f"{own}{os.pathsep}{ROOT}"}

    def answer(*args: str) -> str:
        command = [sys.executable, str(ROOT / "train.py"), "--config-dir", "myconf", *args]
        ran = subprocess.run(command, cwd=own, env=env, capture_output=True, text=True)
        assert "Traceback" not in ran.stderr
        return ran.stdout + ran.stderr

    assert "two_layers" in answer("--help")
    assert "did you mean two_layers" in answer("backbone=two_layer")
    assert "experiment=vicreg_array is of method=my_vicreg" in answer(
        "experiment=vicreg_array", "method=simclr"
    )
    assert "did you mean method.weights" in answer("method=my_vicreg", "method.wieghts=1")
