"""The random parameters of each image's view, drawn on the CPU: a function of integers only."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data.augment.boxes import NUMBERS, draw_boxes
from ssl_zoo.data.augment.settings import OPS, ViewSettings
from ssl_zoo.hashing import uniform

# Which of an image's uniform numbers belong to which op: one hash serves all ops of a view.
# Recorded results depend on these positions: append, never move.
_PLACES = {
    "crop": slice(0, NUMBERS),
    "flip": slice(22, 23),
    "jitter": slice(23, 32),
    "grayscale": slice(32, 33),
    "blur": slice(33, 35),
    "solarize": slice(35, 36),
}


class ViewParameters(NamedTuple):
    """The parameters of N images in one view; CPU tensors.

    Attributes:
        boxes: (N, 4) int64: top, left, height, width of the crop in pixels.
        flip: (N,) bool.
        brightness: (N,) float32 factor; 1 without jitter, as for the next two. What is added, 0
            without jitter, where the settings add it.
        contrast: (N,) float32 factor.
        saturation: (N,) float32 factor.
        hue: (N,) float32, in turns; 0 without jitter.
        order: (N, 4) int64, permutations of 0 brightness, 1 contrast, 2 saturation, 3 hue.
        blur_sigma: (N,) float32, in pixels of the view.
        jitter: (N,) bool, which images get it; likewise for the next three.
        grayscale: (N,) bool.
        blur: (N,) bool.
        solarize: (N,) bool.
    """

    boxes: Tensor
    flip: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor
    order: Tensor
    blur_sigma: Tensor
    jitter: Tensor
    grayscale: Tensor
    blur: Tensor
    solarize: Tensor


def draw(
    settings: ViewSettings,
    index: Tensor,
    key: tuple[int, int, int],
    height: Tensor | int,
    width: Tensor | int,
) -> ViewParameters:
    """The parameters of one view.

    Args:
        settings: Settings of the view.
        index: Int64 CPU tensor (N,), the images' positions in the training split.
        key: Seed, epoch and index of the view.
        height: Height of the images in pixels, one for all or (N,).
        width: Width likewise.

    Returns:
        The parameters; those of an index do not depend on the other entries.
    """
    u = uniform(index, _PLACES["solarize"].stop, *key)
    applied = {op: u[:, _PLACES[op].start] < settings.probability(op) for op in OPS[1:]}
    jitter, v = applied["jitter"], u[:, _PLACES["jitter"]][:, 1:]
    strength = torch.tensor([settings.brightness, settings.contrast, settings.saturation])
    low, high = (1 - strength).clamp(min=0), 1 + strength
    factors = torch.where(jitter[:, None], low + (high - low) * v[:, :3], 1.0).float()
    if settings.brightness_form == "add":
        factors[:, 0] = torch.where(jitter, settings.brightness * (2 * v[:, 0] - 1), 0.0)
    order = torch.arange(4).expand(len(index), 4)
    if settings.jitter_order == "random":
        order = v[:, 4:].argsort(dim=1)
    least, greatest = settings.blur_sigma
    sigma = least + (greatest - least) * u[:, _PLACES["blur"]][:, 1]
    return ViewParameters(
        boxes=draw_boxes(settings, u[:, _PLACES["crop"]], height, width),
        brightness=factors[:, 0],
        contrast=factors[:, 1],
        saturation=factors[:, 2],
        hue=torch.where(jitter, settings.hue * (2 * v[:, 3] - 1), 0.0).float(),
        order=order,
        blur_sigma=sigma.float(),
        **applied,
    )


def draw_box(
    settings: ViewSettings, index: int, key: tuple[int, int, int], height: int, width: int
) -> list[int]:
    """The box that `draw` gives one image: top, left, height, width."""
    numbers = uniform(torch.tensor([index]), _PLACES["crop"].stop, *key)
    box: list[int] = draw_boxes(settings, numbers, height, width)[0].tolist()
    return box
