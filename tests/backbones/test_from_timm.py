"""Backbones of timm: their features, their stem, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers.networks import count, map_before_pooling, on_meta
from ssl_zoo.backbones import timm_backbone
from ssl_zoo.types import UserError

# --- torchvision --------------------------------------------------------------------------------


def test_cifar_stem_of_timm() -> None:
    model = on_meta(timm_backbone, "resnet18", stem="cifar")
    assert count(model) == 11_168_832
    images = torch.empty(2, 3, 32, 32, device="meta")
    assert map_before_pooling(model, images) == (2, 512, 4, 4)
    assert model(images).shape == (2, model.num_features) == (2, 512)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_tny"}, "name=vit_tny"),
        ({"name": "resnet1"}, "name=resnet1: must be a model of timm; near: .*resnet1"),
        ({"name": "hf-hub:foo/bar"}, "name=hf-hub:foo/bar: must be a model of timm$"),
        ({"name": "vit_tiny_patch16_224", "stem": "cifar"}, "which vit_tiny_patch16_224 lacks"),
        ({"name": "resnet18d", "stem": "cifar"}, "which resnet18d lacks"),  # three convolutions
        ({"name": "resnet18", "stem": "cifr"}, "stem=cifr"),
    ],
)
def test_timm_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        on_meta(timm_backbone, **options)


# --- all that conf/backbone names ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "vgg11", "convnext_atto", "resnet18d"])
def test_num_features_of_timm(name: str) -> None:
    model: Any = on_meta(timm_backbone, name)
    features = model(torch.empty(2, 3, 224, 224, device="meta"))
    assert features.shape == (2, model.num_features)
