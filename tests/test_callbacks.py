from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks import CleanFeatures, KNNMonitor
from ssl_zoo.evaluation.features import Features
from ssl_zoo.run import build_callbacks
from ssl_zoo.types import MultiViewBatch, StepOutput, UserError
from train import train

Make = Callable[..., DictConfig]


class CountEncodings(CleanFeatures):
    """Counts the images of each encoding."""

    def __init__(self, bank_size: int | None = None) -> None:
        super().__init__(bank_size)
        self.lengths: list[int] = []

    def _encode(self, trainer: Trainer, module: LightningModule, loader: Iterable[Any]) -> Features:
        features = super()._encode(trainer, module, loader)
        self.lengths.append(len(features.label))
        return features


def test_monitors_share_one_encoding_and_the_bank_is_whole(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = CountEncodings()
    monkeypatch.setattr("ssl_zoo.run.CleanFeatures", lambda bank_size: features)
    train(make_config("epochs=2"))
    assert features.lengths == [
        270,
        30,
        270,
        30,
    ]  # bank and val, once an epoch, and not for the map


def test_bank_size_limits_the_bank(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    features = CountEncodings(bank_size=40)
    monkeypatch.setattr("ssl_zoo.run.CleanFeatures", lambda bank_size: features)
    train(make_config())
    assert features.lengths == [40, 30]


class Collapse(Callback):
    """Makes every embedding the same, from outside."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = pl_module.step

        def collapsed(batch: MultiViewBatch) -> StepOutput:
            output = step(batch)  # type: ignore[operator]
            return output._replace(embedding=torch.ones_like(output.embedding))

        pl_module.step = collapsed  # type: ignore[assignment]


@pytest.mark.parametrize("collapsed", [False, True])
def test_a_collapse_is_told(
    make_config: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    collapsed: bool,
) -> None:
    def with_collapse(*args):  # type: ignore[no-untyped-def]
        return [Collapse(), *build_callbacks(*args)] if collapsed else build_callbacks(*args)

    monkeypatch.setattr("ssl_zoo.run.build_callbacks", with_collapse)
    with caplog.at_level(logging.WARNING, "ssl_zoo"):
        metrics = train(make_config("epochs=3", "callbacks.collapse_monitor.min_steps=1"))
    told = [record for record in caplog.records if "have collapsed" in record.getMessage()]
    assert len(told) == int(collapsed)
    assert (metrics["collapse/std"] < 0.01) == collapsed


def test_without_labels_the_monitors_say_that_they_are_off(
    make_config: Make, caplog: pytest.LogCaptureFixture, tmp_path: object
) -> None:

    from test_data import make_tree

    tree = make_tree(Path(str(tmp_path)) / "tree", [(32, 32)])
    folder = ["dataset=folder", f"dataset.root={tree}", "dataset.labelled=false", "batch_size=8"]
    net = ["backbone.widths=[8,16]", "backbone.strides=[2,2]", "augmentation.blur=0", "name=test"]
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(make_config(*folder, *net, "epochs=1", tiny=False))
    assert "val/knn_top1" not in metrics
    assert any("no labels" in record.getMessage() for record in caplog.records)


def test_knn_monitor_runs_every_n_epochs_and_after_the_last(make_config: Make) -> None:
    from ssl_zoo.callbacks.common import epoch_due

    class At:
        def __init__(self, epoch: int) -> None:
            self.current_epoch, self.max_epochs = epoch, 8

    due = [epoch + 1 for epoch in range(8) if epoch_due(At(epoch), 3)]  # type: ignore[arg-type]
    assert due == [3, 6, 8]
    assert KNNMonitor(CleanFeatures(), every_n_epochs=3).every_n_epochs == 3


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing(
    make_config: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="the loss is nan at step"):
        train(make_config("optimizer=sgd", "optimizer.lr=1e30", "epochs=2", "dataset.mean=[0,0,0]"))
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
