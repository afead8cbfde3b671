"""train.py: what a run leaves behind, and what changes no weight."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

import ssl_zoo
from helpers.configs import Make
from ssl_zoo.train import train
from ssl_zoo.types import UserError


def test_a_rate_that_the_optimizer_refuses_is_one_line(make_config: Make) -> None:
    with pytest.raises(UserError, match=r"^optimizer: Invalid learning rate: -1"):
        train(make_config("optimizer.base_lr=-1", "callbacks=none"))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.usefixtures("pictures")
def test_run_folder(make_config: Make, tmp_path: Path) -> None:
    metrics = train(make_config())
    folder = tmp_path / "run"
    assert 0 < metrics["val/knn_top1"] <= 1
    assert json.loads((folder / "result.json").read_text())["status"] == "finished"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["method"]["temperature"] == 0.1
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    names = {row["name"] for row in rows}
    assert {
        "train/loss",
        "lr/all",
        "lr/all_no_decay",
        "val/knn_top1",
        "val/probe_top1",
        "collapse/std",
        "collapse/effective_rank",
        "collapse/sigreg",
    } <= names
    for name in ("last.ckpt", "best.ckpt"):
        assert (folder / "checkpoints" / name).is_file()
    for name in ("views.png", "curves.png", "map.png"):
        assert (folder / "figures" / name).stat().st_size > 1000


def test_same_seed_same_weights_other_seed_others(make_config: Make, tmp_path: Path) -> None:
    for run, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(make_config(f"seed={seed}", run=run))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


@pytest.mark.slow
def test_callbacks_change_no_weight(make_config: Make, tmp_path: Path) -> None:
    train(make_config("epochs=2", run="with"))
    train(make_config("epochs=2", "callbacks=none", run="without"))
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))


def test_load_backbone(trained: Path) -> None:
    backbone, preprocess = ssl_zoo.load_backbone(trained)
    images = torch.randint(0, 256, (4, 3, 40, 50), dtype=torch.uint8)
    features = backbone(preprocess(images))
    assert features.shape == (4, backbone.num_features)
    assert not backbone.training
    saved = weights(trained)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, saved[f"encoder.backbone.{name}"])


@pytest.mark.parametrize("num_views", [1, 3])
def test_another_number_of_views_is_refused(make_config: Make, num_views: int) -> None:
    with pytest.raises(UserError, match=f"num_views={num_views}, but SimCLR takes 2"):
        train(make_config(f"augmentation.num_views={num_views}"))
