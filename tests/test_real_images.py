"""Real photographs, where SSL_ZOO_DATA names a folder that holds them unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from ssl_zoo.data import DataModule
from ssl_zoo.methods import Method

SAMPLE = Path(os.environ.get("SSL_ZOO_DATA", "/nowhere")) / "imagenet-sample"


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="SSL_ZOO_DATA names no folder with imagenet-sample")
def test_a_flat_unlabelled_folder_trains_at_224_pixels_with_resnet50(
    make_config: Callable[..., DictConfig],
) -> None:
    overrides = ["dataset=folder", f"dataset.root={SAMPLE}", "backbone=resnet50", "batch_size=4"]
    cfg = make_config(*overrides, "augmentation=mocov2", "name=test", tiny=False)
    data: DataModule = instantiate(cfg.data)
    method: Method = instantiate(cfg.method.module)
    assert (data.num_images, data.num_classes) == (250, 0)
    raw = next(iter(data.train_dataloader()))
    batch = data.transfer_batch_to_device(raw, torch.device("cpu"), 0)
    assert [tuple(view.shape) for view in batch.views] == [(4, 3, 224, 224)] * 2
    output = method.step(batch)
    output.loss.backward()
    assert output.loss.isfinite()
    assert output.representation.shape == (4, 2048)
