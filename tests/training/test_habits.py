"""What users of Lightning and of the Hydra template type: it works, or a line says what to type."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from helpers.command_line import command_line
from helpers.configs import Make
from helpers.tiers import every
from ssl_zoo.config import (
    TRAIN_ROOTS,
    check_choices,
    check_knobs,
    check_overrides,
    check_types,
    explain,
    flatten,
    task_overrides,
    to_plain,
)
from ssl_zoo.config.words import check_words
from ssl_zoo.training.build import build_trainer

# Of each command line the knobs that it sets.
WORKS: dict[str, dict[str, Any]] = {
    "trainer.accelerator=cpu": {"trainer.accelerator": "cpu"},
    "trainer.deterministic=true": {"trainer.deterministic": True},
    "trainer.min_epochs=5": {"trainer.min_epochs": 5},
    "trainer.max_time=00:01:00:00": {"trainer.max_time": "00:01:00:00"},
    "trainer=default": {"trainer.max_epochs": 12},
    "callbacks=none": {"callbacks": {}},
    "callbacks=[default,early_stopping] callbacks.early_stopping.patience=20": {
        "callbacks.early_stopping.patience": 20,
        "callbacks.knn_monitor.k": 20,
    },
    "callbacks=[default,model_checkpoint] callbacks.model_checkpoint.monitor=val/probe_top1": {
        "callbacks.model_checkpoint.monitor": "val/probe_top1",
    },
    "+callbacks.early_stopping._target_=pytorch_lightning.callbacks.EarlyStopping "
    "+callbacks.early_stopping.monitor=val/knn_top1": {
        "callbacks.early_stopping.monitor": "val/knn_top1",
    },
    "+callbacks.summary._target_=pytorch_lightning.callbacks.RichModelSummary": {
        "callbacks.summary._target_": "pytorch_lightning.callbacks.RichModelSummary",
    },
    "logger=csv": {"logger": {}},
    "logger=wandb logger.wandb.tags=[a,b]": {"logger.wandb.tags": ["a", "b"]},
    "+logger.other._target_=pytorch_lightning.loggers.CSVLogger +logger.other.save_dir=x": {
        "logger.other.save_dir": "x",
    },
    "seed=12345": {"data.seed": 12345},
    "debug=limit": {"trainer.limit_train_batches": 5, "epochs": 12},
    "debug=overfit epochs=50": {"trainer.overfit_batches": 1, "epochs": 50},
    "hydra.verbose=true": {},
    "hydra.job.num=3": {},
    "hydra.run.dir=x": {},
    "name=my_run": {"name": "my_run"},
}

ANSWERED = {
    "trainer=cpu": "give trainer.accelerator=cpu",
    "trainer=gpu": "give trainer.accelerator=gpu",
    "trainer=mps": "give trainer.accelerator=mps",
    "trainer=ddp": "give strategy=ddp devices=N",
    "trainer=ddp_sim trainer.devices=2": "give strategy=ddp devices=2 trainer.accelerator=cpu",
    "trainer.devices=2": "give devices=2",
    "trainer.precision=16": "give precision=16",
    "trainer.check_val_every_n_epoch=2": "choose monitor.every_n_epochs=",
    "trainer.num_sanity_val_steps=0": "choose trainer.fast_dev_run=true",
    "trainer.max_epochs=3": "give epochs=3",
    "callbacks.model_checkpoint.monitor=val/acc": "add callbacks=[default,model_checkpoint]",
    "callbacks.early_stopping.patience=3": "add callbacks=[default,early_stopping]",
    "callbacks=rich_progress_bar": "give callbacks=default",
    "callbacks.model_summary.max_depth=2": "give trainer.enable_model_summary=true",
    "logger=many_loggers": "give logger=[wandb,tensorboard]",
    "logger=comet": "+logger.x._target_=pytorch_lightning.loggers.CometLogger",
    "logger=neptune": "+logger.x._target_=pytorch_lightning.loggers.NeptuneLogger",
    "logger=[csv,mlflow]": "+logger.x._target_=pytorch_lightning.loggers.MLFlowLogger",
    "logger=none": "give logger=csv",
    "logger.wandb.tags=[a]": "add logger=wandb",
    "experiment=example": "give experiment=simclr_quick",
    "hparams_search=mnist_optuna": "give -m and several values",
    "optimized_metric=val/acc_best": "give objective=val/acc_best",
    "tags=[a,b]": "give logger=wandb logger.wandb.tags=[a,b]",
    "task_name=x": "give name=x",
    "train=false test=true": "train.py trains, evaluate.py tests",
    "ckpt_path=logs/last.ckpt": "give resume=RUN",
    "paths.data_dir=data": "give dataset.root=data",
    "paths.output_dir=out": "give hydra.run.dir=out",
    "data=mnist": "give dataset=mnist",
    "data.batch_size=64": "give batch_size=64",
    "data.num_workers=4": "give dataset.num_workers=4",
    "model.optimizer.lr=0.1": "give optimizer.base_lr=0.1",
    "model.optimizer.weight_decay=0": "give optimizer.weight_decay=0",
    "model.net.width=2": "give backbone.width=2",
    "model.temperature=0.2": "give method.temperature=0.2",
    "model.compile=true": "give compile=true",
    "model=byol": "give method=byol",
    "extras.print_config=true": "give --cfg job",
    "extras.enforce_tags=false": "give logger=wandb logger.wandb.tags=",
    "debug=default": "give debug=fast, limit, overfit or profile",
    "debug=fdr": "give debug=fast",
    "debug=profiler": "give debug=profile",
    "debug=fastt": "did you mean fast?",
    "patience=3": "give callbacks.early_stopping.patience=3",
    "entity=me": "give logger.wandb.entity=me",
}


def typed(monkeypatch: pytest.MonkeyPatch, folder: Path, line: str) -> dict[str, Any] | str:
    """What comes of a command line of train.py: its resolved config, or the line that answers."""
    args = line.split()
    monkeypatch.setattr(sys, "argv", ["train.py", *args])
    try:
        check_choices(args)
        check_words(args, "train")
        overrides = [arg for arg in args if not arg.startswith("-")]
        with command_line("train", f"run_dir={folder}", *overrides) as cfg:
            chosen = HydraConfig.get().runtime.choices
            check_overrides(cfg, task_overrides(), chosen, TRAIN_ROOTS)
            check_knobs(cfg)
            config = to_plain(cfg)
            for part in ("trainer", "callbacks", "logger"):
                check_types(config[part], part)
            return config
    except Exception as error:
        return explain(error, "train")


@pytest.mark.parametrize("line", every(7, WORKS))
def test_a_habit_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    config = typed(monkeypatch, tmp_path, line)
    assert isinstance(config, dict), config
    for knob, value in WORKS[line].items():
        assert OmegaConf.select(OmegaConf.create(config), knob) == value, knob


@pytest.mark.parametrize("line", ANSWERED)
def test_a_habit_is_answered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str) -> None:
    answer = typed(monkeypatch, tmp_path, line)
    assert isinstance(answer, str), flatten(answer)
    assert ANSWERED[line] in answer
    assert "\n" not in answer


def test_there_are_thirty_habits() -> None:
    assert len(WORKS) + len(ANSWERED) > 60


def test_the_trainer_holds_what_was_typed(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["accelerator=cpu", "deterministic=true", "min_epochs=2", "max_time=00:01:00:00"]
    try:
        cfg = make_config(*(f"trainer.{key}" for key in given), "epochs=3")
        trainer = build_trainer(cfg, [], [])
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert (trainer.min_epochs, trainer.max_epochs) == (2, 3)
    assert [type(c).__name__ for c in trainer.callbacks].count("Timer") == 1  # type: ignore[attr-defined]
