"""ViTs at other image sizes than their own: their position embeddings are interpolated."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionViT

from ssl_zoo.types import BadValue

Grid = tuple[int, int]  # patches, in height and width


class AnySizeViT(TorchvisionViT):  # type: ignore[misc]
    """torchvision's ViT for images of any whole number of patches; its own size is as it was."""

    def forward(self, images: Tensor) -> Tensor:
        side = (self.patch_size, self.patch_size)
        check_patches(images, side)
        tokens = self.conv_proj(images)
        grid = (tokens.shape[2], tokens.shape[3])
        tokens = tokens.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), tokens], dim=1)
        encoder = self.encoder
        positions = encoder.pos_embedding
        if grid != grid_of(self):
            positions = _resampled(positions, grid, 1)
        tokens = encoder.ln(encoder.layers(encoder.dropout(tokens + positions)))
        features: Tensor = self.heads(tokens[:, 0])
        return features


def is_timm_vit(backbone: Any) -> bool:
    """Whether it is timm's ViT; timm is not imported for it, and has been if it is one."""
    vits = sys.modules.get("timm.models.vision_transformer")
    return vits is not None and isinstance(backbone, vits.VisionTransformer)


def any_size(vit: nn.Module) -> None:
    """Have timm's ViT refuse images that are no whole number of patches by our line.

    Args:
        vit: Built with `dynamic_img_size`.
    """
    vit.register_forward_pre_hook(_check_input)


def _check_input(vit: Any, inputs: tuple[Any, ...]) -> None:
    check_patches(inputs[0], vit.patch_embed.patch_size)


def check_patches(images: Tensor, patch: tuple[int, int]) -> None:
    """Refuse images that are not a whole number of patches.

    Raises:
        BadValue: Naming a size that is.
    """
    height, width = images.shape[-2:]
    if height % patch[0] or width % patch[1] or not height or not width:
        near = max(1, round(height / patch[0])) * patch[0]
        says = f"is not a whole number of patches of {patch[0]} pixels: {near} is; "
        says += "it is the size of the images, or of views that have their own, as small ones do"
        raise BadValue("image_size", height if height % patch[0] else width, says=says)


def grid_of(backbone: nn.Module) -> Grid | None:
    """The patches that a ViT's position embedding is for; None for other networks."""
    vit: Any = backbone
    if is_timm_vit(vit) and vit.pos_embed is not None:
        height, width = vit.patch_embed.grid_size
        return int(height), int(width)
    if isinstance(vit, TorchvisionViT):
        side = vit.image_size // vit.patch_size
        return side, side
    return None


def fitted(weights: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Weights with the position embedding interpolated to the grid of a backbone, if it is a ViT.

    Args:
        weights: Of a backbone of the same names; the embedding's patches make a square.
        backbone: Not changed.
    """
    fit, grid, vit = dict(weights), grid_of(backbone), cast(Any, backbone)
    name = "encoder.pos_embedding" if isinstance(backbone, TorchvisionViT) else "pos_embed"
    old = fit.get(name)
    if grid is None or old is None or old.shape == backbone.state_dict()[name].shape:
        return fit
    inside = 1
    if is_timm_vit(backbone):
        inside = 0 if vit.no_embed_class else vit.num_prefix_tokens
    if old.ndim == 3 and round((old.shape[1] - inside) ** 0.5) ** 2 == old.shape[1] - inside:
        fit[name] = _resampled(old, grid, inside)
    return fit


def at_size(config: dict[str, Any], backbone: nn.Module, image_size: int) -> dict[str, Any]:
    """The config of the same network with a position embedding for another image size.

    Args:
        config: Of the backbone.
        backbone: As it is.
        image_size: In pixels.

    Returns:
        The same config if the backbone is no ViT, or is one for this size.
    """
    grid = grid_of(backbone)
    if grid is None:
        return config
    vit: Any = backbone
    torchvisions = isinstance(vit, TorchvisionViT)
    patch = vit.patch_size if torchvisions else vit.patch_embed.patch_size[0]
    if grid == (image_size // patch, image_size // patch):
        return config
    return config | {"image_size" if torchvisions else "img_size": image_size}


def _resampled(positions: Tensor, grid: Grid, prefix_tokens: int) -> Tensor:
    """Bicubic, as in timm; those for the class token and registers stay."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    made: Tensor = resample_abs_pos_embed(
        positions, new_size=list(grid), num_prefix_tokens=prefix_tokens
    )
    return made
