"""What our own parts refuse is told with the knob of the real configs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig
from torch import nn

from helpers.command_line import command_line
from helpers.configs import TINY, Make
from helpers.tiers import every
from ssl_zoo.config import instantiate, naming_knobs
from ssl_zoo.data import DataModule
from ssl_zoo.evaluate import evaluate
from ssl_zoo.modules import Momentum
from ssl_zoo.train import resume, train
from ssl_zoo.training.run import build_method
from ssl_zoo.types import UserError


def build(cfg: DictConfig) -> None:
    data: DataModule = instantiate(cfg.data)
    build_method(cfg, data)


SIMSIAM = "method=simsiam method/target=momentum method.target.momentum=8"  # it has no momentum
VIEWS = "augmentation.views=[{blur:0.1},{blur:2}]"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ("method=moco method/target=momentum method.momentum=8", "method.momentum=8"),
        (SIMSIAM, "method.target.momentum=8"),
        ("method=moco method.embed_dim=0", "method.embed_dim=0"),
        ("method=moco method.momentum=8", "method.momentum=8"),
        ("method=moco method.queue_size=0", "method.queue_size=0"),
        ("method.temperature=0", "method.temperature=0"),
        ("method/loss=nt_logistic method.loss.mode=x", "method.loss.mode=x"),
        ("method=instdisc method.bank_momentum=3", "method.bank_momentum=3"),
        ("method=instdisc method.proximal_weight=-1", "method.proximal_weight=-1"),
        ("augmentation.jitter=2", "augmentation.jitter=2"),
        (VIEWS, "augmentation.views[1].blur=2"),
        ("dataset.val_fraction=2", "dataset.val_fraction=2"),
        ("dataset.fold=7 dataset.class_split=hash", "dataset.fold=7"),
    ],
)
def test_training(make_config: Make, overrides: str, line: str) -> None:
    cfg = make_config(*overrides.split())
    with pytest.raises(UserError) as caught, naming_knobs(cfg, overrides.split()):
        build(cfg)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["dataset=folder", "dataset.root=.", "dataset.on_error=x"], "dataset.on_error=x"),
        (["backbone=resnet18", "backbone.stem=x"], "backbone.stem=x"),
    ],
)
def test_other_options(make_config: Make, overrides: list[str], line: str) -> None:
    cfg = make_config("name=x", *overrides, tiny=False)
    node = cfg.backbone if "backbone" in line else cfg.data
    with pytest.raises(UserError) as caught, naming_knobs(cfg, overrides):
        instantiate(node)
    assert str(caught.value).startswith(line)


PICKY_RATE = ["optimizer=sgd", "optimizer.module.optimizer._target_=helpers.picky.sgd"]


@pytest.mark.parametrize(
    ("override", "line"),
    every(
        2,
        [
            ("optimizer.lr=-7", "optimizer.lr=-7: must be at least 0"),
            ("optimizer.base_lr=-4", "optimizer.base_lr=-4 makes lr=-1.0: must be at least 0"),
        ],
    ),
)
def test_a_rate_of_the_command_line(tmp_path: Path, override: str, line: str) -> None:
    """A whole run, in which the optimizer is built last; its result says the same."""
    base = [*TINY, f"run_dir={tmp_path}", "callbacks=none", *PICKY_RATE]
    with command_line("train", *base, override) as cfg, pytest.raises(UserError) as caught:
        train(cfg)
    assert str(caught.value) == line
    assert json.loads((tmp_path / "result.json").read_text())["error"] == line


@pytest.mark.slow
def test_without_a_command_line_the_first_knob(make_config: Make) -> None:
    cfg = make_config(*PICKY_RATE, "optimizer.base_lr=-4", "callbacks=none")
    with pytest.raises(UserError, match=r"^optimizer\.base_lr=-4 makes lr=-1\.0: must be"):
        train(cfg)


def test_a_run_that_is_resumed(run: Path) -> None:
    """Its own config counts, which is plain: the shortest place that builds the part."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    picky = {"_target_": "helpers.picky.Part", "_partial_": True, "momentum": -2}
    config["method"]["projector"] = config["method"]["module"]["projector"] = picky
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "result.json").unlink()  # it is not finished
    with pytest.raises(UserError, match=r"^method\.projector\.momentum=-2: must be at least 0$"):
        resume(run, "epochs=2", trust=["helpers"])


PICKY_KNN = "protocol.knn._target_=helpers.picky.Part +protocol.knn.momentum=-1"


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (PICKY_KNN, "protocol.knn.momentum=-1: must be at least 0"),
        ("protocol.knn.k=7", "protocol.knn.k=7"),
        ("protocol=linear protocol.linear.learning_rates=3", "protocol.linear.learning_rates=3"),
    ],
)
def test_a_protocol(tmp_path: Path, overrides: str, line: str) -> None:
    base = [f"out={tmp_path}", "ckpt=random", *overrides.split()]
    with command_line("evaluate", *base) as cfg, pytest.raises(UserError) as caught:
        evaluate(cfg)
    assert str(caught.value).startswith(line)


def test_a_part_of_the_library_has_no_knob() -> None:
    with pytest.raises(UserError, match=r"momentum=8"):
        Momentum(nn.Identity(), momentum=8)
