"""ViTs of other repositories: their names as timm's, and what their tensors tell."""

from __future__ import annotations

import math
import re
from typing import Any

from ssl_zoo.checkpoints.official.names import State, has
from ssl_zoo.types import UserError

_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}
# as published, by ViT-Ti to L and DINOv2's g; MAE's and I-JEPA's ViT-H has 16
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24}
_TWELVE = {192: 12, 384: 12}  # all published ViTs of these widths whose positions are fixed sines
# of torchvision: width, blocks, patch; and heads
_TORCHVISION = {
    (768, 12, 16): ("vit_b_16", 12),
    (768, 12, 32): ("vit_b_32", 12),
    (1024, 24, 16): ("vit_l_16", 16),
    (1024, 24, 32): ("vit_l_32", 16),
    (1280, 32, 14): ("vit_h_14", 16),
}
_MAX_IMAGE_SIZE = 1024
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\..*)")  # DINOv2 in training: its blocks in chunks
_OPENMMLAB = (
    (re.compile(r"layers\.(\d+)\.ln([12])\."), r"blocks.\1.norm\2."),
    (re.compile(r"layers\.(\d+)\.attn\."), r"blocks.\1.attn."),
    (re.compile(r"layers\.(\d+)\.ffn\.layers\.0\.0\."), r"blocks.\1.mlp.fc1."),
    (re.compile(r"layers\.(\d+)\.ffn\.layers\.1\."), r"blocks.\1.mlp.fc2."),
    (re.compile(r"patch_embed\.projection\."), "patch_embed.proj."),
    (re.compile(r"ln1\."), "norm."),
)


def as_timm(weights: State) -> State:
    """A ViT of OpenMMLab or DINOv2 under timm's names; other networks as they are."""
    if "patch_embed.projection.weight" in weights:
        weights = {_renamed(name): value for name, value in weights.items()}
    if "patch_embed.proj.weight" not in weights:
        return weights
    weights = {_CHUNKED.sub(r"blocks.\1", n): v for n, v in weights.items()}
    weights = {
        n.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2."): v
        for n, v in weights.items()
    }
    parts = ("register_tokens", "cls_token", "pos_embed")
    if all(part in weights and weights[part].ndim == 3 for part in parts):
        # DINOv2's registers get no position; timm then adds the class token's to the token itself
        weights["reg_token"] = weights.pop("register_tokens")
        weights["cls_token"] = weights["cls_token"] + weights["pos_embed"][:, :1]
        weights["pos_embed"] = weights["pos_embed"][:, 1:]
    return weights


def _renamed(name: str) -> str:
    for pattern, ours in _OPENMMLAB:
        if pattern.match(name):
            return pattern.sub(ours, name, count=1)
    return name


def timm_vit(
    weights: State, source: str, published: dict[int, int], given: int | None
) -> tuple[dict[str, Any], list[str]]:
    """The config of a ViT under timm's names, and what was concluded without a shape.

    Args:
        weights: Under timm's names.
        source: For messages.
        published: Heads by width of the repository that wrote it, where they differ.
        given: Heads that the user says; None = conclude them.

    Raises:
        UserError: If the architecture is unknown.
    """
    dim, _, patch, _ = shape_of(weights, "patch_embed.proj.weight", 4, source)
    _, tokens, _ = shape_of(weights, "pos_embed", 3, source)
    registers = weights["reg_token"].shape[1] if "reg_token" in weights else 0
    class_token = "cls_token" in weights
    in_positions = int(class_token and not registers)
    grid = math.isqrt(max(tokens - in_positions, 0))
    size = _SIZES.get(dim)
    whole = grid**2 == tokens - in_positions and 0 < grid * patch <= _MAX_IMAGE_SIZE
    if size is None or not whole:
        raise UserError(
            f"{source} is not a known architecture: a ViT of width {dim} with patches of {patch} "
            f"and {tokens} tokens; known are the widths {', '.join(map(str, _SIZES))} with or "
            "without a class token"
        )
    config = {
        "_target_": "ssl_zoo.backbones.timm_backbone",
        "name": _name(size, patch, registers),
        "img_size": grid * patch,
        "patch_size": patch,
    }
    if _scaled(weights) and size != "giant":
        config["init_values"] = 1e-5
    if registers and size != "giant":
        config |= {"reg_tokens": registers, "no_embed_class": True}
    if not class_token:  # I-JEPA
        config |= {"class_token": False, "global_pool": "avg", "fc_norm": False}
    heads, why = _heads(weights, dim, published, given, source, class_token and not registers)
    if heads != _HEADS[dim]:
        config["num_heads"] = heads
    return config, [f"{heads} heads {why}"]


def _name(size: str, patch: int, registers: int) -> str:
    """Timm's name of the network, but for its patches."""
    if size == "giant":
        return f"vit_giant_patch14{'_reg4' if registers else ''}_dinov2"
    import timm

    name = f"vit_{size}_patch{patch}_224"
    return name if timm.is_model(name) else f"vit_{size}_patch{14 if size == 'huge' else 16}_224"


def _scaled(weights: State) -> bool:
    """Whether each block has the layer scale of DINOv2."""
    blocks = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    return all(f"blocks.{block}.ls1.gamma" in weights for block in blocks)


def _heads(
    weights: State,
    dim: int,
    published: dict[int, int],
    given: int | None,
    source: str,
    learned_class: bool,
) -> tuple[int, str]:
    """The number of heads, which no shape tells, and why it is this one."""
    if given is not None:
        if given < 1 or dim % given:
            raise UserError(f"ckpt_heads={given}: must divide {dim}, the width of {source}")
        return given, "by ckpt_heads="
    knob = "shapes do not tell: ckpt_heads= sets others"
    if dim in published:
        return published[dim], f"as its repository published ({knob})"
    if learned_class and dim in _TWELVE and not weights["pos_embed"][:, 0].any():
        return _TWELVE[dim], f"as in MoCo v3's ViT-S, whose fixed positions it has ({knob})"
    return _HEADS[dim], f"as published for the width {dim} ({knob})"


def torchvision_vit(
    weights: State, source: str, given: int | None
) -> tuple[dict[str, Any], list[str]]:
    """The config of one of torchvision's ViTs, and what was concluded without a shape.

    Raises:
        UserError: If torchvision has no such network.
    """
    dim, _, patch, _ = shape_of(weights, "conv_proj.weight", 4, source)
    _, tokens, _ = shape_of(weights, "encoder.pos_embedding", 3, source)
    blocks = {n.split(".")[2] for n in weights if n.startswith("encoder.layers.")}
    grid = math.isqrt(max(tokens - 1, 0))
    name, heads = _TORCHVISION.get((dim, len(blocks), patch), ("", 0))
    if not name or grid**2 != tokens - 1 or not 0 < grid * patch <= _MAX_IMAGE_SIZE:
        raise UserError(
            f"{source} is not a known architecture: a ViT under torchvision's names of width "
            f"{dim} with {len(blocks)} blocks, patches of {patch} and {tokens} tokens; known are "
            f"{', '.join(known for known, _ in _TORCHVISION.values())}"
        )
    if given not in (None, heads):
        raise UserError(f"ckpt_heads={given}: torchvision's {name}, in {source}, has {heads}")
    config = {
        "_target_": "ssl_zoo.backbones.torchvision_backbone",
        "name": name,
        "image_size": grid * patch,
    }
    return config, [f"{heads} heads as in torchvision"]


def is_torchvision_vit(weights: State) -> bool:
    """Whether the names are those of torchvision's ViTs."""
    return has(weights, "encoder.layers.encoder_layer_0.")


def shape_of(weights: State, name: str, dims: int, source: str) -> tuple[int, ...]:
    """The shape of a tensor that must be there, with this many dimensions.

    Raises:
        UserError: If it is not.
    """
    if name not in weights:
        raise UserError(f"{source} lacks the backbone's {name}")
    shape = tuple(weights[name].shape)
    if len(shape) != dims:
        raise UserError(f"{source} is not a known architecture: {name} has {len(shape)} dimensions")
    return shape
