"""torchvision's ResNets that compute like those of other repositories."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_zoo.backbones.from_torchvision import torchvision_backbone
from ssl_zoo.backbones.stem import Stem
from ssl_zoo.types import BadValue

Variant = Literal["same_padding", "solo_cifar", "no_stem_relu"]


def ported_resnet(
    name: str, variant: Variant, stem: Stem = "imagenet", width: float = 1.0
) -> nn.Module:
    """A ResNet with torchvision's names that computes like another repository's.

    Args:
        name: As in `torchvision_backbone`.
        variant: "same_padding" = strided layers pad as TensorFlow and JAX do, more at the end
            (BYOL); "solo_cifar" = the 3x3 stem has padding 2; "no_stem_relu" = no ReLU after
            the stem's norm (lightly's own ResNet, which is a list of its children).
        stem: As in `torchvision_backbone`.
        width: As in `torchvision_backbone`.

    Raises:
        BadValue: If the variant is unknown.
    """
    if variant not in get_args(Variant):
        raise BadValue("variant", variant, f"one of {', '.join(get_args(Variant))}")
    model: Any = torchvision_backbone(name, stem, width)
    if variant == "solo_cifar":
        model.conv1.padding = (2, 2)
    elif variant == "no_stem_relu":
        model.relu = nn.Identity()
    else:
        model.conv1, model.maxpool = _SameConv.of(model.conv1), _SameMaxPool()
        for block in [*model.layer2[:1], *model.layer3[:1], *model.layer4[:1]]:
            for child, layer in list(block.named_children()):
                if isinstance(layer, nn.Conv2d) and layer.stride != (1, 1):
                    setattr(block, child, _SameConv.of(layer))
    backbone: nn.Module = model
    return backbone


def _pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad (N, C, H, W) with zeros so that the output has ceil(size / stride); odd ones go last."""
    missing = [
        max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]
    ]
    (top, left) = (m // 2 for m in missing)
    return F.pad(x, (left, missing[1] - left, top, missing[0] - top))


class _SameConv(nn.Conv2d):
    """A strided convolution that pads as TensorFlow's SAME does."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> _SameConv:
        """One of the same shape."""
        side, stride = conv.kernel_size[0], conv.stride[0]
        return cls(conv.in_channels, conv.out_channels, side, stride, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(_pad_same(input, self.kernel_size[0], self.stride[0]))


class _SameMaxPool(nn.Module):
    """A 3x3 max-pool of stride 2 with SAME padding; after a ReLU, zeros never win."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(_pad_same(x, 3, 2), 3, 2)
