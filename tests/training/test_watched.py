"""Early stopping and checkpoints by a metric, as shipped and as lines of Lightning's own."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping as LightningsEarlyStopping
from pytorch_lightning.callbacks import ModelCheckpoint

from helpers.configs import Make
from helpers.runs import assert_equal, state
from helpers.tiers import every
from ssl_zoo.callbacks import CleanFeatures, EarlyStopping
from ssl_zoo.checkpoints import load_backbone
from ssl_zoo.config import naming_knobs
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.training.build import build_callbacks
from ssl_zoo.training.watched import Watched
from ssl_zoo.types import UserError

NEVER_BETTER = "min_delta=1"  # no top-1 rises by 1
LIGHTNINGS = "_target_=pytorch_lightning.callbacks"
SHIPPED = [
    *("callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1"),
    f"callbacks.early_stopping.{NEVER_BETTER}",
]
REVERSED = ["callbacks=[early_stopping,default]", *SHIPPED[1:]]
TYPED = [
    *(f"+callbacks.stop.{LIGHTNINGS}.EarlyStopping", "+callbacks.stop.monitor=val/knn_top1"),
    *("+callbacks.stop.mode=max", "+callbacks.stop.patience=1", f"+callbacks.stop.{NEVER_BETTER}"),
]


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    every(3, [(TYPED, 2), (REVERSED, 2), ([*SHIPPED, "monitor.every_n_epochs=2"], 4)]),
)
def test_a_run_stops_where_nothing_improves(
    make_config: Make,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    overrides: list[str],
    epochs: int,
) -> None:
    with caplog.at_level(logging.INFO):
        metrics = train(make_config("epochs=9", *overrides))
    folder = RunFolder(tmp_path / "run")
    assert "val/knn_top1" in metrics
    assert folder.read_result()["status"] == "finished"
    assert state(folder.path)["global_step"] == 4 * epochs
    (line,) = [message for message in caplog.messages if "stopp" in message]
    assert line.startswith(f"early stopping: stopped after {4 * epochs} of 36 steps: val/knn_top1")
    with caplog.at_level(logging.INFO):
        assert train(make_config(f"resume={folder}")) == metrics
    assert caplog.messages[-1].endswith("is finished: nothing left to do")


@pytest.mark.slow
def test_a_run_that_improves_is_not_stopped(make_config: Make, tmp_path: Path) -> None:
    rising = ["callbacks.early_stopping.monitor=train/loss", "callbacks.early_stopping.mode=min"]
    slack = "callbacks.early_stopping.min_delta=-100"  # whatever comes is better
    train(make_config("epochs=3", *SHIPPED[:2], *rising, slack))
    assert state(tmp_path / "run")["global_step"] == 12


def looked_at(callback: Callback, every_n_epochs: int = 1) -> None:
    """What is told of a callback before the run."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", enable_model_summary=False, **quiet)
    Watched({"stop": callback}, every_n_epochs).setup(trainer, LightningModule(), "fit")


def test_a_name_that_no_metric_has_is_told_before_the_run() -> None:
    message = r"^callbacks\.stop\.monitor=val/knn_top: nothing logs it: did you mean val/knn_top1"
    with pytest.raises(UserError, match=message):
        looked_at(EarlyStopping("val/knn_top"))
    with pytest.raises(UserError, match=r"^callbacks\.stop\.monitor=val_loss: nothing logs it"):
        looked_at(ModelCheckpoint(monitor="val_loss"))


def test_an_objective_that_nobody_logs_is_told_before_the_run() -> None:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = Trainer(accelerator="cpu", enable_model_summary=False, **quiet)
    for name in ("val/knn_top", "val/acc", "lr/weights"):
        with pytest.raises(UserError, match=rf"^objective={name}: nothing logs it: "):
            Watched({}, 1, name).setup(trainer, LightningModule(), "fit")
    trainer.datamodule = None  # type: ignore[attr-defined]
    for name in ("val/knn_top1", "train/loss_epoch", "train/contrastive_top1", None):
        Watched({}, 1, name).setup(trainer, LightningModule(), "fit")


@pytest.mark.slow
def test_the_objective_decides_what_is_best(make_config: Make, tmp_path: Path) -> None:
    """Of a loss it is the lowest."""
    quick = ["trainer.limit_train_batches=1", "epochs=3", "callbacks=none", "optimizer.lr=0.3"]
    metrics = train(make_config(*quick, "objective=train/loss"))
    run = RunFolder(tmp_path / "run")
    assert run.read_result()["objective"] == "train/loss"
    curve = dict(run.read_metrics()["train/loss"])
    best = torch.load(run.best, weights_only=True)
    assert best["global_step"] == 1 + min(curve, key=lambda step: curve[step])
    assert "val/knn_top1" not in metrics


@pytest.mark.slow
def test_an_objective_that_did_not_come_is_told(make_config: Make) -> None:
    message = r"^objective=val/knn_top1: this run logs .*: give one of them, or choose the monitors"
    quick = ["callbacks=none", "trainer.limit_train_batches=1"]
    with pytest.raises(UserError, match=message):
        train(make_config(*quick, "objective=val/knn_top1"))
    with pytest.raises(UserError, match=r"^objective=3: give the name of a logged metric, or null"):
        train(make_config("objective=3"))


def test_looking_where_nothing_is_measured_is_told() -> None:
    message = r"is looked at every epoch, but measured every 2: set monitor\.every_n_epochs=1"
    with pytest.raises(UserError, match=message):
        looked_at(LightningsEarlyStopping("val/knn_top1", mode="max"), every_n_epochs=2)
    looked_at(LightningsEarlyStopping("train/loss"), every_n_epochs=2)
    looked_at(EarlyStopping("val/knn_top1", every_n_epochs=2), every_n_epochs=2)
    with pytest.raises(UserError, match=message):
        looked_at(LightningsEarlyStopping("collapse/sigreg"), every_n_epochs=2)


def test_the_wrong_end_of_a_metric_is_told(caplog: pytest.LogCaptureFixture) -> None:
    looked_at(EarlyStopping("val/knn_top1"))
    looked_at(LightningsEarlyStopping("train/loss"))
    assert not caplog.messages
    looked_at(LightningsEarlyStopping("val/knn_top1"))
    assert caplog.messages == [
        "warning: callbacks.stop.mode=min takes the worst val/knn_top1 for the best: "
        "set callbacks.stop.mode=max"
    ]
    caplog.clear()
    looked_at(LightningsEarlyStopping("collapse/sigreg"))
    assert not caplog.messages
    looked_at(EarlyStopping("collapse/sigreg", mode="max"))
    assert "set callbacks.stop.mode=min" in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mode=maximum", r"^callbacks\.early_stopping\.mode=maximum: must be max or min$"),
        ("patience=few", r"^callbacks\.early_stopping\.patience=few: give a whole number$"),
    ],
)
def test_values_that_make_no_sense(make_config: Make, override: str, message: str) -> None:
    cfg = make_config("callbacks=early_stopping", f"callbacks.early_stopping.{override}")
    with pytest.raises(UserError, match=message), naming_knobs(cfg):
        build_callbacks(cfg, CleanFeatures(), RunFolder(cfg.run_dir))


@pytest.mark.slow
def test_a_metric_that_did_not_come_is_told(make_config: Make) -> None:
    message = (
        r"^callbacks\.model_checkpoint\.monitor=val/knn_top1: this run logs .*, train/loss_epoch: "
        r"give one of them, or choose the monitors too: callbacks=\[default,\.\.\.\]$"
    )
    with pytest.raises(UserError, match=message):
        train(make_config("callbacks=model_checkpoint", "trainer.limit_train_batches=1"))


@pytest.mark.slow
def test_kept_checkpoints_load_and_go_on(make_config: Make, tmp_path: Path) -> None:
    kept = ["callbacks=[default,model_checkpoint]", "callbacks.model_checkpoint.save_top_k=-1"]
    train(make_config("epochs=3", *kept))
    folder = RunFolder(tmp_path / "run")
    names = sorted(path.name for path in folder.checkpoints.iterdir())
    assert names == ["best.ckpt", "epoch_000.ckpt", "epoch_001.ckpt", "epoch_002.ckpt", "last.ckpt"]
    whole = state(folder.path)

    backbone, _ = load_backbone(folder.checkpoints / "epoch_002.ckpt")
    last, _ = load_backbone(folder.last)
    assert_equal(dict(backbone.state_dict()), dict(last.state_dict()), "backbone")
    first, _ = load_backbone(folder.checkpoints / "epoch_000.ckpt")
    name = next(iter(dict(first.named_parameters())))
    assert not torch.equal(first.state_dict()[name], last.state_dict()[name])

    shutil.copy(folder.checkpoints / "epoch_000.ckpt", folder.last)
    folder.write_result(folder.read_result() | {"status": "interrupted"})
    train(make_config(f"resume={folder}"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_equal(state(folder.path)[part], whole[part], part)


@pytest.mark.slow
def test_lightnings_own_checkpoints_lie_beside_ours(make_config: Make, tmp_path: Path) -> None:
    typed = [f"+callbacks.keep.{LIGHTNINGS}.ModelCheckpoint", "+callbacks.keep.save_last=true"]
    train(make_config("callbacks=none", "epochs=2", *typed))
    checkpoints = tmp_path / "run" / "checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["epoch=1-step=8.ckpt", "last.ckpt"]
    assert state(tmp_path / "run")["global_step"] == 8
