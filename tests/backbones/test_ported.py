"""ResNets that compute as another repository's do; the layouts' tests compare their features."""

from __future__ import annotations

from typing import Any

import pytest

from ssl_zoo.backbones import ported_resnet
from ssl_zoo.types import BadValue


def test_an_unknown_variant() -> None:
    variant: Any = "same"
    said = "^variant=same: must be one of same_padding, solo_cifar, no_stem_relu$"
    with pytest.raises(BadValue, match=said):
        ported_resnet("resnet18", variant)
