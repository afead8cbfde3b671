"""Two small backbones for small images and CPUs: (N, 3, H, W) -> (N, num_features)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.types import BadValue


def _conv(in_dim: int, out_dim: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(in_dim, out_dim, kernel_size, stride, kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class ConvNet(nn.Module):
    """3x3 convolutions with batch norm and ReLU, then the mean over positions.

    Args:
        widths: Output channels of each convolution.
        strides: Stride of each convolution.

    Raises:
        UserError: If the two differ in length.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 128, 256),
        strides: Sequence[int] = (2, 1, 2, 1, 2),
    ) -> None:
        super().__init__()
        if len(widths) != len(strides):
            raise BadValue("strides", strides, f"{len(widths)} numbers, one for each of widths")
        for name, numbers in (("widths", widths), ("strides", strides)):
            if not all(isinstance(number, int) and number >= 1 for number in numbers):
                raise BadValue(name, numbers, "whole numbers of at least 1")
        layers: list[nn.Module] = []
        for in_dim, out_dim, stride in zip([3, *widths[:-1]], widths, strides, strict=True):
            conv = _conv(in_dim, out_dim, stride=stride)
            layers += [conv, nn.BatchNorm2d(out_dim), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.num_features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut that averages and projects (ResNet-D)."""

    def __init__(self, in_dim: int, out_dim: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(in_dim, out_dim, stride=stride), nn.BatchNorm2d(out_dim)
        self.conv2, self.norm2 = _conv(out_dim, out_dim), nn.BatchNorm2d(out_dim)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_dim != out_dim:
            # odd sides are rounded up, as by the convolution
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, _conv(in_dim, out_dim, 1), nn.BatchNorm2d(out_dim))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A stem of stride 1, stages of residual blocks that halve the side, the mean over positions.

    Args:
        widths: Channels of each stage; the first keeps the resolution.
        depth: Blocks per stage.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 160, 320), depth: int = 1) -> None:
        super().__init__()
        stem = [_conv(3, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        blocks: list[nn.Module] = []
        for stage, (in_dim, out_dim) in enumerate(
            zip([widths[0], *widths[:-1]], widths, strict=True)
        ):
            blocks.append(_Block(in_dim, out_dim, stride=1 if stage == 0 else 2))
            blocks += [_Block(out_dim, out_dim, stride=1) for _ in range(depth - 1)]
        self.layers = nn.Sequential(*stem, *blocks)
        self.num_features = widths[-1]

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features.mean(dim=(2, 3))
