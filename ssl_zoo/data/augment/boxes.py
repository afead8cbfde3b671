"""The boxes of random crops, from uniform numbers: three samplers, all images and tries at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_zoo.data.augment.settings import LEAST_COVERED, ViewSettings

_TRIES = 10  # of torchvision's RandomResizedCrop, before it takes the central crop
NUMBERS = 2 * _TRIES + 2  # that a box is drawn from: two for each try, two for its place


def draw_boxes(
    settings: ViewSettings, numbers: Tensor, height: Tensor | int, width: Tensor | int
) -> Tensor:
    """Boxes (N, 4) int64: top, left, height, width.

    Args:
        settings: Settings of the view.
        numbers: (N, NUMBERS) float64, uniform in [0, 1).
        height: Height of the images in pixels, one for all or (N,).
        width: Width likewise.
    """
    high = torch.as_tensor(height, dtype=torch.float64).expand(len(numbers))
    wide = torch.as_tensor(width, dtype=torch.float64).expand(len(numbers))
    if "crop" not in settings.order:
        return _central(high, wide)
    sampler = {"redraw": _redrawn, "clip": _clipped, "tensorflow": _tensorflows}
    return sampler[settings.crop_form](settings, numbers, high, wide)


def _redrawn(settings: ViewSettings, numbers: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """A box that does not fit is drawn again, as by torchvision's RandomResizedCrop."""
    u = numbers[:, : 2 * _TRIES].view(-1, _TRIES, 2)
    (low, high), (narrow, wide) = settings.crop_scale, settings.crop_ratio
    area = (height * width)[:, None] * (low + (high - low) * u[:, :, 0])
    ratio = torch.exp(math.log(narrow) + (math.log(wide) - math.log(narrow)) * u[:, :, 1])
    h, w = torch.sqrt(area / ratio).round(), torch.sqrt(area * ratio).round()
    fits = (h > 0) & (h <= height[:, None]) & (w > 0) & (w <= width[:, None])
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    # If no try fits: the largest central crop whose ratio is within bounds.
    box_height = torch.where(
        found, h.gather(1, first)[:, 0], (width / narrow).round().minimum(height)
    )
    box_width = torch.where(found, w.gather(1, first)[:, 0], (height * wide).round().minimum(width))
    free_height, free_width = height - box_height, width - box_width
    top = torch.where(found, numbers[:, -2] * (free_height + 1), free_height / 2)
    left = torch.where(found, numbers[:, -1] * (free_width + 1), free_width / 2)
    return torch.stack((top.floor(), left.floor(), box_height, box_width), dim=1).long()


def _clipped(settings: ViewSettings, numbers: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """One draw of area and log ratio, whose sides are clipped to the image.

    Source: Grill et al. 2020 (BYOL), official code.
    """
    (low, high), (narrow, wide) = settings.crop_scale, settings.crop_ratio
    area = height * width * (low + (high - low) * numbers[:, 0])
    ratio = torch.exp(math.log(narrow) + (math.log(wide) - math.log(narrow)) * numbers[:, 1])
    h = torch.sqrt(area / ratio).round().clamp(min=1).minimum(height)
    w = torch.sqrt(area * ratio).round().clamp(min=1).minimum(width)
    top = (numbers[:, -2] * (height - h + 1)).floor()
    left = (numbers[:, -1] * (width - w + 1)).floor()
    return torch.stack((top, left, h, w), dim=1).long()


def _tensorflows(settings: ViewSettings, numbers: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """TensorFlow's sampler: the ratio is uniform, then the height, up to the largest that fits.

    A box is drawn again only if rounding puts its area out of bounds or it covers less than a tenth
    of the image; the whole image if that happens at every try. The last place, at the right or
    lower edge, is never taken. TensorFlow has up to 100 tries in SimCLR's code, ten here.

    Source: `tf.image.sample_distorted_bounding_box` as Chen et al. 2020 (SimCLR), official code,
    call it.
    """
    u = numbers[:, : 2 * _TRIES].view(-1, _TRIES, 2)
    (low, high), (narrow, wide) = settings.crop_scale, settings.crop_ratio
    rows, columns = height[:, None], width[:, None]
    whole = rows * columns
    ratio = narrow + (wide - narrow) * u[:, :, 0]
    most = torch.sqrt(high * whole / ratio).round()
    fitting = ((columns + 0.5 - 1e-7) / ratio).floor()
    fitting = torch.where((fitting * ratio).round() > columns, fitting - 1, fitting)
    most = torch.where((most * ratio).round() > columns, fitting, most).minimum(rows)
    least = torch.sqrt(low * whole / ratio).round().minimum(most)
    h = least + (u[:, :, 1] * (most - least + 1)).floor()
    h = torch.where(h * (h * ratio).round() < low * whole, h + 1, h)
    h = torch.where(h * (h * ratio).round() > high * whole, h - 1, h)
    w = (h * ratio).round()
    fits = (h > 0) & (h <= rows) & (w > 0) & (w <= columns)
    fits &= (h * w >= max(low, LEAST_COVERED) * whole) & (h * w <= high * whole)
    first, found = fits.int().argmax(1, keepdim=True), fits.any(1)
    box_height = torch.where(found, h.gather(1, first)[:, 0], height)
    box_width = torch.where(found, w.gather(1, first)[:, 0], width)
    top = (numbers[:, -2] * (height - box_height)).floor()
    left = (numbers[:, -1] * (width - box_width)).floor()
    return torch.stack((top, left, box_height, box_width), dim=1).long()


def _central(height: Tensor, width: Tensor) -> Tensor:
    """Boxes (N, 4) of the central squares, for views that are not cropped."""
    side = height.minimum(width)
    top, left = ((height - side) / 2).floor(), ((width - side) / 2).floor()
    return torch.stack((top, left, side, side), dim=1).long()
