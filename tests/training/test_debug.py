"""debug= tries a run: each preset does what its file says, with every method, and says so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pytorch_lightning.loggers import WandbLogger

from helpers.command_line import command_line
from helpers.configs import TINY, Make
from helpers.runs import state
from helpers.tiers import every
from ssl_zoo.config import options_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.training.build import build_loggers

SMALL = [override for override in TINY if not override.startswith(("epochs", "log_every"))]


def tried(folder: Path, *overrides: str) -> RunFolder:
    with command_line("train", *SMALL, f"run_dir={folder}", *overrides) as cfg:
        train(cfg)
    return RunFolder(folder)


@pytest.mark.slow
@pytest.mark.parametrize("preset", options_of("debug"))
@pytest.mark.parametrize("method", options_of("method"))
def test_presets_run_with_every_method(tmp_path: Path, preset: str, method: str) -> None:
    few = [] if preset == "fast" else ["trainer.max_steps=2"]
    more = ["method.images_per_class=8"] if method == "metric_learning" else []
    folder = tried(tmp_path / "run", f"debug={preset}", f"method={method}", *few, *more)
    assert folder.last.exists() == (preset != "fast")


@pytest.mark.slow
def test_fast_says_what_it_sets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tried(tmp_path / "run", "debug=fast")
    assert caplog.messages[0].startswith("SimCLR on shapes, in ")
    assert caplog.messages[1] == "debug=fast: trainer.fast_dev_run=true"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_limit_is_a_short_whole_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        folder = tried(tmp_path, "debug=limit", "trainer.limit_train_batches=3")
    assert caplog.messages[1].startswith("debug=limit: trainer.limit_train_batches=3 ")
    assert "trainer.max_steps=15 monitor.bank_size=1000" in caplog.messages[1]
    assert state(tmp_path)["global_step"] == 15
    assert len(folder.read_metrics()["val/knn_top1"]) == 5
    assert (folder.figures / "curves.png").exists()


@pytest.mark.slow
def test_overfit_repeats_a_batch_and_measures_once(tmp_path: Path) -> None:
    folder = tried(tmp_path, "debug=overfit", "trainer.max_steps=10")
    curves = folder.read_metrics()
    assert len(curves["train/loss"]) == 10
    assert len(curves["val/knn_top1"]) == 1


@pytest.mark.slow
def test_profile_ends_with_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tried(tmp_path, "debug=profile", "trainer.max_steps=2", "callbacks=none")
    assert "run_training_batch" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "mode"),
    every(
        4,
        [
            (["debug=limit"], "offline"),
            (["debug=overfit"], "offline"),
            (["debug=profile"], "offline"),
            ([], "online"),
            (["debug=limit", "logger.wandb.mode=online"], "online"),
        ],
    ),
)
def test_wandb_is_offline(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, overrides: list[str], mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    cfg = make_config("logger=wandb", *overrides)
    logger = build_loggers(cfg, RunFolder(cfg.run_dir))[1]
    assert isinstance(logger, WandbLogger)
    assert logger._wandb_init["mode"] == mode


def test_a_preset_goes_before_a_recipe(make_config: Make) -> None:
    recipe = ["experiment=instdisc_cifar10", "dataset.root=x"]
    cfg = make_config(*recipe, "name=test", "debug=overfit", tiny=False)
    assert (cfg.epochs, cfg.trainer.max_steps) == (1000, 100)
    assert (cfg.method.temperature, cfg.scheduler.milestones) == (0.1, [120, 160])
