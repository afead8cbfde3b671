"""Configs that make a run cheap."""

from __future__ import annotations

from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import register_resolvers

# What makes the real config cheap: a few hundred images, a tiny net, one epoch.
TINY = [
    "dataset.splits.num_train=300",
    "dataset.splits.num_test=60",
    "backbone.widths=[8,16]",
    "backbone.strides=[2,2]",
    "epochs=1",
    "batch_size=64",
    "precision=32-true",
    "log_every_n_steps=1",
    "name=test",
]

Make = Callable[..., DictConfig]


def node(text: str) -> DictConfig:
    register_resolvers()
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    return config
