"""The two small nets against loops over their layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.networks import count, noise, on_meta
from ssl_zoo.backbones import ConvNet, SmallResNet
from ssl_zoo.types import UserError


def normed(x: Tensor) -> Tensor:
    """Batch norm as it starts: the batch's own statistics."""
    variance, average = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
    return (x - average) / (variance + 1e-5).sqrt()


def test_convnet_equals_loop() -> None:
    model = ConvNet(widths=(4, 6, 5), strides=(2, 1, 2)).double()
    images = noise(3, 3, 16, 16).double()
    x = images
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [4, 6, 5]
    for conv, stride in zip(convs, (2, 1, 2), strict=True):
        x = normed(functional.conv2d(x, conv.weight, stride=stride, padding=1)).relu()
    assert x.shape[2:] == (4, 4)
    torch.testing.assert_close(model(images), x.flatten(2).mean(dim=2))
    assert model.num_features == 5


def test_convnet_size() -> None:
    widths = (32, 64, 128, 128, 256)
    pairs = zip((3, *widths[:-1]), widths, strict=True)
    assert count(on_meta(ConvNet)) == sum(9 * a * b + 2 * b for a, b in pairs)


def test_convnet_lengths() -> None:
    with pytest.raises(UserError, match=r"strides=\[2\]: must be 2 numbers"):
        ConvNet(widths=(8, 16), strides=(2,))


def test_small_resnet_equals_loop() -> None:
    model = SmallResNet(widths=(4, 6), depth=2).double()
    images = noise(3, 3, 8, 8).double()
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    stem, *rest = weights
    x = normed(functional.conv2d(images, stem, padding=1)).relu()
    for stride in (1, 1, 2, 1):
        first, second, rest = rest[0], rest[1], rest[2:]
        y = normed(functional.conv2d(x, first, stride=stride, padding=1)).relu()
        y = normed(functional.conv2d(y, second, padding=1))
        if stride == 2:  # the shortcut averages, then projects
            projection, rest = rest[0], rest[1:]
            x = normed(functional.conv2d(functional.avg_pool2d(x, 2), projection))
        x = (x + y).relu()
    assert rest == []
    assert x.shape == (3, 6, 4, 4)
    torch.testing.assert_close(model(images), x.mean(dim=(2, 3)))


def test_small_resnet_shapes() -> None:
    model = on_meta(SmallResNet)
    assert model.num_features == 320
    shapes: list[tuple[int, ...]] = []
    model.layers.register_forward_hook(lambda m, x, y: shapes.append(tuple(y.shape)))
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 320)
    assert shapes == [(2, 320, 4, 4)]


@pytest.mark.parametrize(("side", "last"), [(32, 4), (14, 2), (9, 2), (1, 1)])
def test_odd_sides_are_rounded_up(side: int, last: int) -> None:
    """As multi-crop's small views have, 14 beside 32."""
    model = SmallResNet(widths=(4, 4, 4, 4))
    maps = model.layers(torch.randn(2, 3, side, side))
    assert maps.shape == (2, 4, last, last)
    assert model(torch.ones(2, 3, side, side)).isfinite().all()
