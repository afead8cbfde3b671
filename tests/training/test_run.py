"""What a run is refused for before it starts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from helpers.command_line import command_line
from helpers.configs import Make
from helpers.runs import SignalAt, state
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.training.build import build_callbacks
from ssl_zoo.types import UserError


@pytest.fixture
def stopped(tmp_path: Path) -> RunFolder:
    """A run that was stopped, by an earlier version: its checkpoint has no format."""
    folder = RunFolder(tmp_path / "old")
    folder.checkpoints.mkdir(parents=True)
    torch.save({"ssl_zoo": {"config": {}}}, folder.last)
    folder.config.write_text(yaml.safe_dump({"run_dir": "elsewhere", "name": "x", "seed": 0}))
    return folder


def test_a_run_of_an_earlier_version_is_told(make_config: Make, stopped: RunFolder) -> None:
    with pytest.raises(UserError, match=r"last\.ckpt .*before format 1"):
        train(make_config(f"resume={stopped}"))
    assert not stopped.result.exists()


def test_a_folder_without_a_checkpoint_is_told(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt: give a run folder$"):
        train(make_config(f"resume={tmp_path}"))


def test_overrides_beside_resume_are_told(stopped: RunFolder) -> None:
    overrides = [f"resume={stopped}", "trainer.fast_dev_run=true", f"run_dir={stopped}"]
    with (
        command_line("train", *overrides) as cfg,
        pytest.raises(UserError, match=r"own config: remove trainer\.fast_dev_run=true, run_dir="),
    ):
        train(cfg)


class TwiceCtrlC(SignalAt):
    """Ctrl-C, and again: at once."""

    def on_train_batch_end(self, *args: object) -> None:  # type: ignore[override]
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


class InSecondEpoch(Callback):
    """Does something to the run's folder while it is written."""

    def __init__(self, does: Callable[[], object]) -> None:
        self.does = does

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        if trainer.current_epoch == 1 and batch_idx == 1:  # the first step's metrics are written
            self.does()


def train_and(does: Callable[[], object], cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "ssl_zoo.training.run.build_callbacks",
            lambda *a: [*build_callbacks(*a), InSecondEpoch(does)],
        )
        train(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["log_every_n_steps=1", "save_every_n_minutes=1e-9"])
def test_a_folder_that_is_moved_while_its_run_writes_it_is_not_made_anew(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    here, moved = tmp_path / "run", tmp_path / "moved"
    cfg = make_config("callbacks=none", "epochs=3", "log_every_n_steps=1000", first)
    with pytest.raises(UserError, match=f"^{here} is gone: it was moved or deleted"):
        train_and(lambda: here.rename(moved), cfg, monkeypatch)
    assert not here.exists()
    assert state(moved)["global_step"] >= 4
    RunFolder(moved).lock.unlink()  # in life its process is gone
    train(make_config(f"resume={moved}"))
    assert RunFolder(moved).read_result()["status"] == "finished"


@pytest.mark.slow
def test_a_full_disk_is_named(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full has no space left for whoever writes to it."""
    folder = RunFolder(tmp_path / "run")

    def fill() -> None:
        folder.metrics.unlink()
        folder.metrics.symlink_to("/dev/full")

    with pytest.raises(UserError, match=f"^no space left on the disk of {folder}$"):
        train_and(fill, make_config("callbacks=none", "epochs=2"), monkeypatch)
    assert folder.read_result()["status"] == "failed"


@pytest.mark.parametrize(
    ("ends", "status"),
    [(TwiceCtrlC, "interrupted"), (lambda step: "not a callback", "failed")],
)
def test_however_a_run_ends_its_result_says_so_and_its_lock_is_gone(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: object, status: str
) -> None:
    monkeypatch.setattr(
        "ssl_zoo.training.run.build_callbacks",
        lambda *a: [ends(0), *build_callbacks(*a)],  # type: ignore[operator]
    )
    with pytest.raises(BaseException):  # noqa: B017, PT011
        train(make_config("callbacks=none"))
    folder = RunFolder(tmp_path / "run")
    assert folder.read_result()["status"] == status
    assert not folder.lock.exists()
