"""The architecture of a backbone, read from the shapes of its weights."""

from __future__ import annotations

import math
import re
from typing import Any

import timm
import torch

from ssl_zoo.backbones import Stem
from ssl_zoo.backbones.spec import RESNETS
from ssl_zoo.checkpoints.official.names import State, has
from ssl_zoo.types import UserError

_STEMS: dict[int, Stem] = {7: "imagenet", 3: "cifar"}
_VITS = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
_MAX_WIDTH = 8  # times the standard ResNet's; SwAV's widest has 5
_MAX_IMAGE_SIZE = 1024


def architecture(weights: State, source: str) -> dict[str, Any]:
    """The config of the untrained network.

    Raises:
        UserError: If the architecture is unknown.
    """
    return _vit(weights, source) if has(weights, "blocks.") else _resnet(weights, source)


def _shape(weights: State, name: str, dims: int, source: str) -> torch.Size:
    if name not in weights:
        raise UserError(f"{source} lacks the backbone's {name}")
    shape = weights[name].shape
    if len(shape) != dims:
        raise UserError(f"{source} is not a known architecture: {name} has {len(shape)} dimensions")
    return shape


def _resnet(weights: State, source: str) -> dict[str, Any]:
    channels, _, side, _ = _shape(weights, "conv1.weight", 4, source)
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


def _vit(weights: State, source: str) -> dict[str, Any]:
    dim, _, patch, _ = _shape(weights, "patch_embed.proj.weight", 4, source)
    _, tokens, _ = _shape(weights, "pos_embed", 3, source)
    grid = math.isqrt(max(tokens - 1, 0))
    size = _VITS.get(dim)
    if size is None or grid**2 != tokens - 1 or not 0 < grid * patch <= _MAX_IMAGE_SIZE:
        raise UserError(
            f"{source} is not a known architecture: a ViT of width {dim} with patches of {patch} "
            f"and {tokens} tokens; known are the widths {', '.join(map(str, _VITS))} with a class "
            "token"
        )
    name = f"vit_{size}_patch{patch}_224"
    if not timm.is_model(name):
        name = f"vit_{size}_patch{14 if size == 'huge' else 16}_224"
    config = {
        "_target_": "ssl_zoo.backbones.timm_backbone",
        "name": name,
        "img_size": grid * patch,
        "patch_size": patch,
    }
    # MoCo v3's small and tiny ViTs have 12 heads, which no shape reveals; their fixed sine position
    # embedding is 0 at the class token, while all others learn it.
    if size in ("tiny", "small") and not weights["pos_embed"][:, 0].any():
        config["num_heads"] = 12
    return config
