"""Complete runs of metric learning: norms, proxies, order, what is logged."""

from __future__ import annotations

import csv
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from helpers.configs import Make
from helpers.metric_learning import ARCFACE
from helpers.runs import assert_equal, state
from helpers.tiers import only
from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule
from ssl_zoo.train import train
from ssl_zoo.training.build import build_method

# --- frozen batch norm --------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("frozen", only([True], [True, False]))
def test_frozen_norms_keep_their_statistics_and_mode(
    make_config: Make, tmp_path: Path, frozen: bool
) -> None:
    cfg = make_config(*ARCFACE, f"method.freeze_batchnorm={str(frozen).lower()}", "epochs=2")
    train(cfg)
    saved = dict(state(tmp_path / "run"))["state_dict"]
    assert isinstance(saved, dict)
    torch.manual_seed(0)
    fresh = build_method(cfg, build(cfg.data))
    for name, before in fresh.state_dict().items():
        if "running_" in name:
            assert torch.equal(saved[name], before) == frozen, name
        if name.endswith("num_batches_tracked"):
            assert int(saved[name]) == (0 if frozen else 8)
    norms = [m for m in fresh.encoder.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    convs = [m for m in fresh.encoder.backbone.modules() if isinstance(m, nn.Conv2d)]
    for _ in range(2):
        assert len(norms) == 2
        assert all(norm.training == (not frozen) for norm in norms)
        assert all(conv.training for conv in convs)
        assert all(norm.weight.requires_grad for norm in norms)
        fresh.eval()
        fresh.train()


# --- complete runs ------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_proxies_and_their_optimizer_are_saved(make_config: Make, tmp_path: Path) -> None:
    train(make_config(*ARCFACE, "callbacks=none"))
    saved = state(tmp_path / "run")
    names = [group["name"] for group in saved["optimizer_states"][0]["param_groups"]]  # type: ignore[index]
    assert names == ["backbone", "backbone_no_decay", "embedder", "embedder_no_decay", "loss"]
    assert saved["state_dict"]["loss.W"].shape == (128, 10)  # type: ignore[index]


@pytest.mark.slow
def test_what_watches_changes_nothing(make_config: Make, tmp_path: Path) -> None:
    split = [*ARCFACE, "dataset.class_split=hash", "batch_size=16", "epochs=2"]
    train(make_config(*split, run="watched"))
    train(make_config(*split, "callbacks=none", run="alone"))
    watched, alone = state(tmp_path / "watched"), state(tmp_path / "alone")
    for part in ("state_dict", "optimizer_states"):
        assert_equal(watched[part], alone[part], part)
    assert watched["state_dict"]["loss.W"].shape == (128, 3)  # type: ignore[index]


@pytest.mark.slow
def test_rates_and_counts_are_logged(make_config: Make, tmp_path: Path) -> None:
    train(make_config(*ARCFACE, "method/miner=flawed_triplet", "method.loss_lr=0.03"))
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {row["name"] for row in rows}
    parts = ("backbone", "embedder", "loss")
    assert {f"lr/{part}" for part in parts} <= names
    assert {row["value"] for row in rows if row["name"] == "lr/loss"} == {"0.03"}
    counts = {float(row["value"]) for row in rows if row["name"] == "train/triplets"}
    assert counts == {21.0}  # 64 / 3


def test_batches_hold_m_images_of_each_class(make_config: Make) -> None:
    data: DataModule = build(make_config(*ARCFACE).data)
    batches = list(data.train_dataloader())
    assert len(batches) == data.steps_per_epoch == 4
    for found in batches:
        assert found.label.view(8, 8).unique(dim=1).shape == (8, 1)
        assert len(found.label.unique()) == 8


def test_classes_of_few_images_are_told_once(
    make_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    data: DataModule = build(make_config(*ARCFACE, "method.images_per_class=32").data)
    counts = data.train.labels.bincount()
    short = int((counts < 32).sum())
    assert 0 < short <= 10
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        for _ in range(2):
            data.train_dataloader()
    told = [record.getMessage() for record in caplog.records]
    line = "classes have fewer images than images_per_class=32: batches repeat them"
    assert told == [f"{short} {line}"]
