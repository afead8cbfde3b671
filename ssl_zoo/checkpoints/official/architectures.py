"""The architecture of a backbone, read from the shapes of its weights."""

from __future__ import annotations

import re
from typing import Any

from ssl_zoo.backbones import Stem
from ssl_zoo.backbones.spec import RESNETS
from ssl_zoo.checkpoints.official.names import State, has
from ssl_zoo.checkpoints.official.vits import (
    is_torchvision_vit,
    shape_of,
    timm_vit,
    torchvision_vit,
)
from ssl_zoo.checkpoints.weights import shown
from ssl_zoo.types import UserError

_STEMS: dict[int, Stem] = {7: "imagenet", 3: "cifar"}
# Beside a whole ResNet or ViT these are parts of another network, not heads: CLIP's and SigLIP's
# pooling, stems of several convolutions.
_OTHERS = ("attnpool.", "attn_pool.", "conv2.", "bn2.")
_MAX_WIDTH = 8  # times the standard ResNet's; SwAV's widest has 5


def architecture(
    weights: State, source: str, published: dict[int, int], heads: int | None
) -> tuple[dict[str, Any], list[str]]:
    """The config of the untrained network, and what was concluded although no shape tells it.

    Args:
        weights: Under torchvision's or timm's names.
        source: For messages.
        published: Heads by width of the ViTs of the repository that wrote it, where they differ.
        heads: Heads that the user says; None = conclude them.

    Raises:
        UserError: If the architecture is unknown.
    """
    if others := [name for name in weights if name.startswith(_OTHERS)]:
        first = ", ".join(map(shown, others[:2]))
        raise UserError(f"{source} is not a known architecture: it has {first} besides")
    if is_torchvision_vit(weights):
        return torchvision_vit(weights, source, heads)
    if has(weights, "blocks."):
        return timm_vit(weights, source, published, heads)
    if heads is not None:
        raise UserError(f"ckpt_heads={heads}: {source} is a ResNet, which has no heads: remove it")
    return _resnet(weights, source), []


def _resnet(weights: State, source: str) -> dict[str, Any]:
    channels, _, side, _ = shape_of(weights, "conv1.weight", 4, source)
    names = [re.match(r"layer([1-4])\.(\d+)\.", name) for name in weights]
    blocks = {(int(found[1]), int(found[2])) for found in names if found}
    depths = tuple(sum(stage == s for s, _ in blocks) for stage in (1, 2, 3, 4))
    bottleneck = any(".conv3." in name for name in weights)
    name = next((n for n, shape in RESNETS.items() if shape == (bottleneck, depths)), None)
    width = channels / 64
    if name is None or side not in _STEMS or width > _MAX_WIDTH:
        raise UserError(
            f"{source} is not a known architecture: a ResNet of {'-'.join(map(str, depths))} "
            f"{'bottleneck' if bottleneck else 'basic'} blocks, with {channels} channels and a "
            f"kernel of {side} in its stem; known are {', '.join(RESNETS)}"
        )
    return {
        "_target_": "ssl_zoo.backbones.torchvision_backbone",
        "name": name,
        "stem": _STEMS[side],
        "width": width,
    }
