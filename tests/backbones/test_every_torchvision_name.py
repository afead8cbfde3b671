"""Every classifier that torchvision lists is a backbone that trains a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision

from helpers.networks import noise
from helpers.tiers import only
from ssl_zoo.backbones import torchvision_backbone

NAMES = torchvision.models.list_models(module=torchvision.models)
# SqueezeNet ends in a convolution, and a RegNet cannot be built on torch's meta device
FIRST = ["squeezenet1_1", "regnet_y_400mf"]
SIZES = {"maxvit_t": 224, "inception_v3": 96}  # the smallest that they take; of others 64


@pytest.mark.parametrize("name", only(FIRST, NAMES))
def test_it_trains_a_step(name: str) -> None:
    torch.manual_seed(0)
    model: Any = torchvision_backbone(name)
    size = SIZES.get(name, 64)
    if name.endswith("_14"):  # patches of 14
        size = 70
    images = noise(2, 3, size, size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = next(iter(model.parameters())).detach().clone()
    features = model.train()(images)
    assert features.shape == (2, model.num_features)
    features.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    optimizer.step()
    assert not torch.equal(before, next(iter(model.parameters())))
    with torch.inference_mode():
        assert model.eval()(images).shape == (2, model.num_features)
