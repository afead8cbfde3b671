"""What does not fit together is refused before anything is trained."""

from __future__ import annotations

import logging

import pytest
from pytorch_lightning.loggers import TensorBoardLogger

from helpers.command_line import command_line
from helpers.configs import TINY, Make
from helpers.tiers import every
from ssl_zoo.config import instantiate, to_plain
from ssl_zoo.data.facts import data_facts, input_in_words
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
    cfg = make_config("augmentation.views=[{count:2},{count:6,blur:0}]")
    says = r"views makes 8 views of 32 pixels, but SimCLR takes 2: give"
    with pytest.raises(UserError, match=says):
        build_method(cfg, instantiate(cfg.data))


def test_a_number_of_views_that_listed_ones_overrule_is_refused(make_config: Make) -> None:
    """byol's augmentation lists two; LeJEPA would take any number."""
    cfg = make_config("method=lejepa", "method.num_views=4", "augmentation=byol")
    with pytest.raises(
        UserError, match=r"num_views=4, but augmentation.views makes 2 .*views=\[\]"
    ):
        build_method(cfg, instantiate(cfg.data))


@pytest.mark.parametrize(
    ("knobs", "said"),
    every(
        2,
        [  # 4 steps of 16 images in an epoch
            ("method.frozen_epochs=2 epochs=2", "the prototypes never learn: they are frozen for"),
            ("method.frozen_epochs=2 epochs=3", ""),
            ("method.frozen_epochs=1 epochs=9 trainer.max_steps=4", "all of the run's 4 steps"),
            ("method.queue_size=112 epochs=2", ""),
            (
                "method.queue_size=113 epochs=2",
                "of 113 embeddings is never used: it is filled from",
            ),
            ("method.queue_size=48 method.queue_start_epoch=1 epochs=2", ""),
            (
                "method.queue_size=49 method.queue_start_epoch=1 epochs=2",
                "from step 4 on, and holds",
            ),
            ("method.queue_start_epoch=1 epochs=2", "there is no queue"),
        ],
    ),
)
def test_prototypes_and_queues_that_change_nothing_are_said(
    make_config: Make, caplog: pytest.LogCaptureFixture, knobs: str, said: str
) -> None:
    few = ["dataset.splits.num_train=80", "batch_size=16", "method.frozen_epochs=0"]
    cfg = make_config("method=swav", *few, *knobs.split())
    data = instantiate(cfg.data)
    assert data.num_batches == 4
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        build_method(cfg, data)
    assert said in caplog.text
    lines = [line for line in caplog.messages if "never" in line or "no queue" in line]
    assert len(lines) == bool(said)


@pytest.mark.slow
def test_a_backbone_for_which_small_views_are_too_small_is_told(make_config: Make) -> None:
    small = ["method=swav", "augmentation=multi_crop", "backbone=googlenet_bn", "name=test"]
    cfg = make_config(*small, "dataset.splits.num_train=20", "batch_size=4", tiny=False)
    says = r"GoogLeNet does not take images of 14 pixels: .*: give small views more pixels, or"
    with pytest.raises(UserError, match=says):
        build_method(cfg, instantiate(cfg.data))


def test_knobs_of_small_views_that_are_not_made_are_said(
    make_config: Make, caplog: pytest.LogCaptureFixture
) -> None:
    for count, said in ((0, 1), (2, 0)):
        small = ["augmentation.small.crop_scale=[0.3,0.5]", f"augmentation.small.count={count}"]
        caplog.clear()
        started = command_line("train", *TINY, "method=swav", *small)
        with started as cfg, caplog.at_level(logging.INFO, "ssl_zoo"):
            build_method(cfg, instantiate(cfg.data))
        assert caplog.text.count("small.crop_scale changes nothing without small views") == said


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("method=supcon method/loss=info_nce", r"^InfoNCE is no loss for SupCon: .*loss=supcon$"),
        ("method=lejepa method/loss=npair", r"choose method/loss=cross_correlation or sigreg or"),
    ],
)
def test_a_loss_of_another_kind_is_told_with_those_that_fit(
    make_config: Make, overrides: str, line: str
) -> None:
    cfg = make_config(*overrides.split())
    with pytest.raises(UserError, match=line):
        build_method(cfg, instantiate(cfg.data))


@pytest.mark.parametrize(
    ("overrides", "message"),
    every(
        7,
        [
            (
                "method=moco augmentation=multi_crop",
                r"^augmentation makes views of several sizes \(2 of 32, 6 of 14 pixels\), but MoCo "
                r"takes views of one size: set augmentation\.small\.count=0$",
            ),
            (
                "method=byol augmentation.views=[{},{size:16}]",
                r"\(1 of 32, 1 of 16 pixels\), but BYOL .*: give augmentation\.views one size$",
            ),
            (
                "method=lejepa method/loss=whitened_mse augmentation=multi_crop",
                r"but LeJEPA with WhitenedMSE takes views of one size",
            ),
            (
                "augmentation.views=[{size:16},{count:2}]",
                r"^augmentation\.views makes views of 1 of 16, 2 of 32 pixels, in this order, but",
            ),
            (
                "method=lejepa augmentation.views=[{count:1},{count:2,size:16}]",
                r"makes 1 views of 32 pixels, but LeJEPA takes 2: give entries of that size",
            ),
            (
                "method=swav method.num_views=1",
                r"^method\.num_views=1, but SwAV takes 2: set method\.num_views=2$",
            ),
            (
                "augmentation=multi_crop augmentation.num_views=1",
                r"^augmentation\.num_views=1, but SimCLR takes 2",
            ),
            (
                "augmentation=multi_crop augmentation.small.size=32",
                r"small\.size=32: must be below 32",
            ),
            (
                "augmentation=multi_crop augmentation.small.count=-1",
                r"small\.count=-1: must be a whole",
            ),
        ],
    ),
)
def test_views_of_several_sizes_that_do_not_fit(
    make_config: Make, overrides: str, message: str
) -> None:
    cfg = make_config(*overrides.split(), "augmentation.blur=0")
    with pytest.raises(UserError, match=message) as error:
        build_method(cfg, instantiate(cfg.data))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", every(2, ["simclr", "lejepa"]))
def test_multi_crop_is_an_option_of_the_augmentation(make_config: Make, method: str) -> None:
    cfg = make_config("augmentation=multi_crop", "augmentation.small.count=3", f"method={method}")
    data = instantiate(cfg.data)
    assert build_method(cfg, data)
    assert data.view_sizes == [32, 32, 14, 14, 14]
    words = input_in_words(data_facts(data))
    assert words.startswith("32 x 32 pixels (5 views: 2 of 32 x 32, 3 of 14 x 14; 2,636 pixels), ")


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
