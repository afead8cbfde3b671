"""Sizes and overrides of the metric learning tests."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from ssl_zoo.config import instantiate as build
from ssl_zoo.data import DataModule
from ssl_zoo.training.build import build_method

N, DIM, CLASSES = 12, 5, 3

ARCFACE = ["method=metric_learning", "method/metric_loss=arcface", "method.images_per_class=8"]


def batch_of(cfg: DictConfig) -> Any:
    data: DataModule = build(cfg.data)
    build_method(cfg, data)
    return next(iter(data.train_dataloader()))
