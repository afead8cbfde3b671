"""Early stopping and checkpoints by a metric, as shipped and as lines of Lightning's own."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from helpers.configs import Make
from helpers.runs import assert_equal, state
from helpers.tiers import every
from ssl_zoo.checkpoints import load_backbone
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
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
    every(2, [(TYPED, 2), (REVERSED, 2), ([*SHIPPED, "monitor.every_n_epochs=2"], 4)]),
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
    assert caplog.messages[-1].endswith("is finished: nothing is left to do")


def test_a_run_that_improves_is_not_stopped(make_config: Make, tmp_path: Path) -> None:
    rising = ["callbacks.early_stopping.monitor=train/loss", "callbacks.early_stopping.mode=min"]
    slack = "callbacks.early_stopping.min_delta=-100"  # whatever comes is better
    train(make_config("epochs=3", *SHIPPED[:2], *rising, slack))
    assert state(tmp_path / "run")["global_step"] == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [*SHIPPED, "callbacks.early_stopping.monitor=val/knn_top"],
            r"^callbacks\.early_stopping\.monitor=val/knn_top: nothing logs it: did you mean "
            r"val/knn_top1",
        ),
        (
            ["callbacks=model_checkpoint", "trainer.limit_train_batches=1"],
            r"^callbacks\.model_checkpoint\.monitor=val/knn_top1: this run logs train/loss.*: "
            r"give one of them, or the monitors too, as in callbacks=\[default,",
        ),
        (
            [*TYPED, "monitor.every_n_epochs=2"],
            r"^callbacks\.stop\.monitor=val/knn_top1 is looked at every epoch, but measured every "
            r"2: set monitor\.every_n_epochs=1, or choose callbacks=\[default,early_stopping\]",
        ),
        (
            [*SHIPPED, "callbacks.early_stopping.mode=maximum"],
            r"^callbacks\.early_stopping\.mode=maximum: must be max or min$",
        ),
        (
            [*SHIPPED, "callbacks.early_stopping.patience=few"],
            r"^callbacks\.early_stopping\.patience=few: give a whole number$",
        ),
    ],
)
def test_a_metric_that_nobody_logs_is_told(
    make_config: Make, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(make_config("callbacks=default", *overrides))


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


def test_lightnings_own_checkpoints_lie_beside_ours(make_config: Make, tmp_path: Path) -> None:
    typed = [f"+callbacks.keep.{LIGHTNINGS}.ModelCheckpoint", "+callbacks.keep.save_last=true"]
    train(make_config("callbacks=none", "epochs=2", *typed))
    checkpoints = tmp_path / "run" / "checkpoints"
    assert sorted(p.name for p in checkpoints.iterdir()) == ["epoch=1-step=8.ckpt", "last.ckpt"]
    assert state(tmp_path / "run")["global_step"] == 8
