"""Lightning's own keys do what they do in Lightning."""

from __future__ import annotations

import logging
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback

from helpers.command_line import command_line
from helpers.configs import TINY, Make
from helpers.runs import assert_equal, state, train_with_signal
from helpers.tiers import every
from helpers.trees import make_tree
from ssl_zoo import train as program
from ssl_zoo.config import TRAIN_ROOTS, unread_overrides
from ssl_zoo.train import train
from ssl_zoo.training.build import build_callbacks
from ssl_zoo.types import UserError


class Batches(Callback):
    """The images of each micro-batch, and the trainer."""

    def __init__(self) -> None:
        self.index: list[list[int]] = []
        self.views: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.trainer = trainer
        self.index.append(batch.index.tolist())
        self.views.append(batch.views[0])


def watch(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> Batches:
    """Train, and see what came by."""
    batches = Batches()
    with monkeypatch.context() as patch:
        patch.setattr(
            "ssl_zoo.training.run.build_callbacks", lambda *a: [*build_callbacks(*a), batches]
        )
        train(cfg)
    return batches


def test_the_knobs_reach_lightning(make_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    knobs = ["clip_norm=0.5", "accumulate=2", "log_every_n_steps=3", "precision=bf16-mixed"]
    own = ["trainer.detect_anomaly=true", "trainer.max_time=00:01:00:00"]
    trainer = watch(make_config("callbacks=none", *knobs, *own), monkeypatch).trainer
    assert (trainer.max_epochs, trainer.gradient_clip_val) == (1, 0.5)
    assert (trainer.accumulate_grad_batches, trainer.precision) == (2, "bf16-mixed")
    assert trainer._detect_anomaly
    assert trainer.log_every_n_steps == 3  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize(
    "samples", every(2, [[], ["method=metric_learning", "method.images_per_class=8"]])
)
def test_overfitting_takes_the_same_first_images_each_epoch(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, samples: list[str]
) -> None:
    overrides = ["callbacks=none", "epochs=3", *samples]
    whole = watch(make_config(*overrides, run="whole"), monkeypatch)
    few = watch(make_config(*overrides, "trainer.overfit_batches=2", run="few"), monkeypatch)
    assert few.index == whole.index[:2] * 3
    assert whole.index[4:6] != whole.index[:2]
    assert not torch.equal(few.views[0], few.views[2]), "views are drawn anew each epoch"


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["trainer.overfit_batches=3", "trainer.limit_train_batches=3"])
def test_a_resume_of_a_limited_run_is_exact(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    overrides = ["epochs=3", "accumulate=2", "callbacks=none", limit]  # steps 2, 4, 6 end epochs
    train(make_config(*overrides, run="whole"))
    code = train_with_signal(make_config(*overrides, run="stopped"), 3, monkeypatch)
    assert code == 128 + signal.SIGTERM
    assert state(tmp_path / "stopped")["global_step"] == 3
    train(make_config(f"resume={tmp_path / 'stopped'}"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert_equal(state(tmp_path / "stopped")[part], state(tmp_path / "whole")[part], part)


@pytest.mark.slow
def test_a_limited_epoch_of_files_is_followed_by_another(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has decoded ahead what the limit cuts off."""
    tree = make_tree(tmp_path / "tree", [(40, 50), (64, 33)])
    files = ["dataset=folder", f"dataset.root={tree}", "dataset.num_workers=1", "batch_size=4"]
    net = ["backbone.widths=[8,16]", "backbone.strides=[2,2]", "augmentation.blur=0", "name=test"]
    plain = [*files, *net, "dataset.image_size=32", "epochs=2", "callbacks=none"]
    whole = watch(make_config(*plain, tiny=False, run="whole"), monkeypatch)
    limit = "trainer.limit_train_batches=1"
    few = watch(make_config(*plain, limit, tiny=False, run="few"), monkeypatch)
    steps = len(whole.index) // 2
    assert steps > 2
    assert few.index == [whole.index[0], whole.index[steps]]
    assert torch.equal(few.views[1], whole.views[steps])


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["csv", "[wandb,tensorboard]"])
def test_a_fast_dev_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    run, temporary = tmp_path / "run", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    overrides = [
        *TINY,
        f"run_dir={run}",
        f"logger={logger}",
        "trainer.fast_dev_run=2",
    ]
    with command_line("train", *overrides) as cfg:
        assert program.main.__wrapped__(cfg) > 0  # type: ignore[attr-defined]
    assert list(tmp_path.rglob("*")) == [temporary]


@pytest.mark.slow
def test_a_fast_dev_run_that_fails_leaves_nothing_behind(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size=1000 is more than"):
        train(make_config("batch_size=1000", "trainer.fast_dev_run=true"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("override", "said"),
    every(
        3,
        [
            ("trainer.profiler=simple", "run_training_batch"),
            ("+trainer.profiler=simple", "run_training_batch"),
            ("trainer.enable_model_summary=true", "Trainable params"),
        ],
    ),
)
def test_what_lightning_was_asked_to_say_is_said(
    make_config: Make,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    override: str,
    said: str,
) -> None:
    # Lightning has a handler of its own where it was imported before logging was set up
    monkeypatch.setattr(logging.getLogger("pytorch_lightning"), "propagate", True)
    with caplog.at_level(logging.INFO):
        train(make_config(override, "callbacks=none", "trainer.max_steps=1"))
    assert said in capsys.readouterr().out + caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("bar", every(2, [True, False]))
def test_progress_shows_the_epochs_that_a_run_will_have(
    make_config: Make, capsys: pytest.CaptureFixture[str], bar: bool
) -> None:
    show = f"trainer.enable_progress_bar={str(bar).lower()}"
    train(make_config("epochs=5", "trainer.max_steps=6", show))
    out = capsys.readouterr().out
    assert ("epoch 1/2" in out, "epoch 2/2" in out) == (bar, bar)
    assert "val/knn_top1" in out  # the table comes either way


@pytest.mark.slow
def test_monitors_run_where_the_steps_end(make_config: Make) -> None:
    every = ["monitor.every_n_epochs=3", "epochs=9", "trainer.max_steps=6"]
    assert "val/knn_top1" in train(make_config(*every))


@pytest.mark.parametrize(
    ("override", "message"),
    every(
        3,
        [
            ("trainer.profiler=foo", r"^trainer.profiler=foo: .*`profiler`"),
            (
                "+trainer.nonsense=1",
                r"^trainer\.nonsense=1: .*unexpected keyword argument 'nonsense'",
            ),
            ("trainer.accelerator=tpu", r"^trainer: "),
            (
                "trainer.max_steps=0",
                r"^trainer\.max_steps=0: must be a whole number of at least 1",
            ),
            (
                "trainer.overfit_batches=0.01",
                r"^trainer\.overfit_batches=0\.01: must be a count, or",
            ),
            (
                "trainer.limit_train_batches=x",
                r"^trainer\.limit_train_batches=x: give a number",
            ),
        ],
    ),
)
def test_what_lightning_refuses_is_one_line(make_config: Make, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        train(make_config(override, "callbacks=none"))


def test_every_key_of_the_trainer_is_read(make_config: Make) -> None:
    cfg = make_config()
    keys = [f"trainer.{key}" for key in cfg.trainer]
    knobs = ["epochs", "accumulate", "clip_norm", "precision", "devices", "num_nodes", "strategy"]
    assert unread_overrides(cfg, [*keys, *knobs, "sync_batchnorm"], TRAIN_ROOTS) == []
