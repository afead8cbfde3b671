"""GoogLeNet without its auxiliary heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_zoo.backbones import googlenet
from ssl_zoo.types import UserError


def test_googlenet_gives_features_while_it_trains() -> None:
    backbone = googlenet().train()
    features = backbone(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 1024)
    assert backbone.num_features == 1024
    assert any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    with pytest.raises(UserError, match="weights=foo: must be one of googlenet's: IMAGENET1K_V1"):
        googlenet("foo")
