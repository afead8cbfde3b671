"""What does not fit together is refused before anything is trained."""

from __future__ import annotations

import pytest
from pytorch_lightning.loggers import TensorBoardLogger

from helpers.configs import Make
from ssl_zoo.config import instantiate, to_plain
from ssl_zoo.loggers import CSVLog, WandbRun
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.build import build_loggers, build_method
from ssl_zoo.types import UserError


def test_split_norms_are_not_joined_again(make_config: Make) -> None:
    cfg = make_config("method=moco", "sync_batchnorm=true")
    with pytest.raises(UserError, match=r"^sync_batchnorm=true joins the norms that shuffle_bn"):
        build_method(cfg, instantiate(cfg.data))
    fitting = make_config("method=moco", "sync_batchnorm=true", "method.target.num_splits=1")
    assert build_method(fitting, instantiate(fitting.data))


def test_too_many_entries_of_views_are_told(make_config: Make) -> None:
    cfg = make_config("augmentation.views=[{count:2},{count:6,size:16}]")
    with pytest.raises(UserError, match=r"views makes 8 views, but SimCLR takes 2: give entries"):
        build_method(cfg, instantiate(cfg.data))


def test_another_number_of_views_is_answered_with_the_override(make_config: Make) -> None:
    cfg = make_config("augmentation.num_views=3")
    with pytest.raises(UserError, match=r"SimCLR takes 2: set augmentation\.num_views=2$"):
        build_method(cfg, instantiate(cfg.data))


@pytest.mark.parametrize(
    ("choice", "kinds"),
    [
        ("csv", []),
        ("tensorboard", [TensorBoardLogger]),
        ("wandb", [WandbRun]),
        ("[wandb,tensorboard]", [WandbRun, TensorBoardLogger]),
        ("[csv,tensorboard]", [TensorBoardLogger]),
        ("[]", []),
    ],
)
def test_loggers_stand_beside_the_csv(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, choice: str, kinds: list[type]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    cfg = make_config(f"logger={choice}")
    loggers = build_loggers(cfg, RunFolder(cfg.run_dir))
    assert [type(logger) for logger in loggers] == [CSVLog, *kinds]


def test_each_logger_has_its_own_keys(make_config: Make) -> None:
    cfg = make_config("logger=[wandb,tensorboard]", "logger.wandb.project=mine")
    config = to_plain(cfg)["logger"]
    assert config["wandb"]["project"] == "mine"
    assert config["tensorboard"]["folder"] == cfg.run_dir
