"""A dashboard's config says each value once, and the options by their names."""

from __future__ import annotations

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.command_line import command_line
from helpers.configs import node
from ssl_zoo.config import (
    copies,
    copies_again,
    flatten,
    options_by_group,
    register_resolvers,
    shown,
    to_plain,
)
from ssl_zoo.config.compose import composed

OVERRIDES = ["method=moco", "dataset=cifar100", "backbone=resnet18_cifar", "augmentation=mocov2"]
KNOBS = ["method.temperature=0.3", "augmentation.flip=0.1", "name=test", "run_dir=x"]
OPTIONS = {
    "method": "moco",
    "backbone": "resnet18_cifar",
    "dataset": "cifar100",
    "augmentation": "mocov2",
    "optimizer": "adamw",
    "scheduler": "warmup_cosine",
}


@pytest.fixture(scope="module")
def cfg() -> DictConfig:
    register_resolvers()
    return composed([*OVERRIDES, *KNOBS])


def test_what_is_wired_is_said_once(cfg: DictConfig) -> None:
    config = to_plain(cfg)
    flat = shown(config, copies(cfg), {})
    assert flat["epochs"] == 12
    assert flat["method.temperature"] == config["method"]["module"]["loss"]["temperature"]
    for copy in ("trainer.max_epochs", "trainer.devices", "data.batch_size", "data.val_fraction"):
        assert copy not in flat
    assert not [key for key in flat if key.startswith(("method.module.loss", "data.splits."))]
    for computed in ("optimizer.lr", "scheduler.warmup_epochs", "run_dir"):
        assert computed in flat
    assert len(flat) < 0.6 * len(flatten(config))


def test_nothing_is_lost(cfg: DictConfig) -> None:
    """Each copy's value is there under another key."""
    config, repeated = to_plain(cfg), copies(cfg)
    values = [value for value in shown(config, repeated, {}).values() if value != {}]
    hidden = {k: v for k, v in flatten(config).items() if k not in shown(config, repeated, {})}
    assert len(hidden) > 50
    assert [key for key, value in hidden.items() if value not in values and value != {}] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: ${a}", ["b"]),
        ("a: 1\nb: ${oc.select:a,3}", ["b"]),
        ("b: ${oc.select:a,3}", []),  # the default: said nowhere else
        ("a: 1\nb: ${a}/x", []),
        ("a: {x: 1}\nb: ${a}\nc: ${b.x}", ["b", "c"]),
        ("a: {x: 1, y: '${.x}'}", ["a.y"]),
    ],
)
def test_what_counts_as_a_copy(text: str, expected: list[str]) -> None:
    assert copies(node(text)) == expected


def test_options_as_hydra_chose_them() -> None:
    """What differs from the option's file is still the option."""
    with command_line("train", "optimizer=lars", "method=byol", "run_dir=x") as cfg:
        found = options_by_group(cfg)
    assert found == OPTIONS | {
        "method": "byol",
        "optimizer": "lars",
        "dataset": "shapes",
        "augmentation": "shapes",  # the data set's file names it
        "backbone": "convnet",
    }


def test_options_of_a_config_that_python_composed_or_a_run_saved(cfg: DictConfig) -> None:
    assert options_by_group(OmegaConf.create(to_plain(cfg))) == OPTIONS


@pytest.mark.slow
def test_copies_of_a_run_whose_overrides_are_known(cfg: DictConfig) -> None:
    assert copies_again([*OVERRIDES, *KNOBS]) == copies(cfg)
    assert copies_again(["method=gone"]) == []
