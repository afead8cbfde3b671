"""Every option of conf/backbone, and that every parameter learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from helpers.configs import Make
from helpers.networks import noise, on_meta
from helpers.tiers import every
from ssl_zoo.backbones import ConvNet, SmallResNet, timm_backbone, torchvision_backbone
from ssl_zoo.config import CONFIG_DIR

NAMES = {"torchvision": "mobilenet_v3_small", "timm": "vit_tiny_patch16_224"}


OPTIONS = sorted(path.stem for path in Path(CONFIG_DIR).glob("backbone/*"))


@pytest.mark.parametrize("option", every(4, OPTIONS))
def test_every_config(option: str, make_config: Make) -> None:
    name = [f"backbone.name={NAMES[option]}"] if option in NAMES else []
    cfg = make_config(f"backbone={option}", *name, tiny=False)
    model: Any = on_meta(instantiate, cfg.backbone)
    size = 224 if option == "timm" else 64
    features = model(torch.empty(2, 3, size, size, device="meta"))
    assert features.shape == (2, model.num_features)
    features.sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "build",
    [
        ConvNet,
        SmallResNet,
        lambda: torchvision_backbone("resnet18", stem="cifar", width=0.25),
        lambda: torchvision_backbone("resnet50", width=0.25),
        lambda: timm_backbone("resnet18", stem="cifar", zero_init_last=False),
    ],
    ids=["convnet", "small_resnet", "resnet18", "resnet50", "timm"],
)
def test_every_parameter_learns(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    features = model(noise(4, 3, 32, 32))
    (features * noise(*features.shape, seed=1)).sum().backward()
    grads = {n: p.grad for n, p in model.named_parameters()}
    assert [n for n, g in grads.items() if g is None or not g.any() or not g.isfinite().all()] == []
