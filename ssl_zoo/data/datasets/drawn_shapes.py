"""The default data set: ten classes of shape, drawn by the program, with nothing to download.

The label is the shape only. Colour, contrast, position, size, rotation and lighting are
random, so raw pixels say little about the class; and none of them survives the usual colour jitter
and crops well enough for two views to be matched without looking at the shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssl_zoo.data.images import Splits, TensorImages
from ssl_zoo.hashing import SHAPES_STREAM, uniform
from ssl_zoo.types import BadValue, UserError

_CHUNK = 512  # images drawn at once: a few megabytes of float32, which stay in the cache
_NUM_DRAWS = 13
_SHIFT = 0.3  # of half the image's side, either way, on each axis
_SMALLEST, _LARGEST = 0.5, 0.8  # the shape's outer radius, of half the image's side
# Backgrounds differ more from each other than a shape from its own: so raw pixels classify badly.
_DARKEST, _LIGHTEST = 0.1, 0.9  # luma


# Each shape is a distance to its outline: negative inside, in units of its outer radius. Only exact
# operations (+ - * abs min max sqrt) are used on pixels, so that an image does not depend, not even
# in the last bit, on the batch it is drawn in. x points right, y up.


def _circle(x: Tensor, y: Tensor, radius: float) -> Tensor:
    # in float32 it would be MKL's, whose last bit depends on the CPU
    return (x * x + y * y).double().sqrt().float() - radius


def _box(x: Tensor, y: Tensor, half_width: float, half_height: float) -> Tensor:
    return torch.maximum(x.abs() - half_width, y.abs() - half_height)


def _half_planes(x: Tensor, y: Tensor, count: int, apothem: float) -> Tensor:
    """Distances to the `count` sides of a regular polygon, the first one at the bottom."""
    angles = [2.0 * math.pi * k / count - 0.5 * math.pi for k in range(count)]
    return torch.stack([x * math.cos(a) + y * math.sin(a) - apothem for a in angles])


def _disc(x: Tensor, y: Tensor) -> Tensor:
    return _circle(x, y, 0.85)


def _ring(x: Tensor, y: Tensor) -> Tensor:
    return _circle(x, y, 0.67).abs() - 0.23


def _square(x: Tensor, y: Tensor) -> Tensor:
    return _box(x, y, 0.72, 0.72)


def _triangle(x: Tensor, y: Tensor) -> Tensor:
    return _half_planes(x, y, 3, 0.5).amax(0)


def _star(x: Tensor, y: Tensor) -> Tensor:
    # A point is in a pentagram if it is outside at most one of its five lines.
    return _half_planes(x, y, 5, 0.32).topk(2, dim=0).values[1]


def _cross(x: Tensor, y: Tensor) -> Tensor:
    return torch.minimum(_box(x, y, 0.9, 0.27), _box(x, y, 0.27, 0.9))


def _crescent(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum(_circle(x + 0.1, y, 0.9), -_circle(x - 0.32, y, 0.68))


def _heart(x: Tensor, y: Tensor) -> Tensor:
    # A square standing on a corner, with a half disc on each of its upper sides.
    y = y + 0.2
    right, left = (y + x) * math.sqrt(0.5), (y - x) * math.sqrt(0.5)
    lobes = torch.minimum(_circle(right - 0.5, left, 0.5), _circle(right, left - 0.5, 0.5))
    return torch.minimum(_box(right, left, 0.5, 0.5), lobes)


def _arrow(x: Tensor, y: Tensor) -> Tensor:
    head = torch.maximum((x.abs() + y - 0.95) * math.sqrt(0.5), -y)
    return torch.minimum(head, _box(x, y + 0.45, 0.25, 0.5))


def _hourglass(x: Tensor, y: Tensor) -> Tensor:
    return torch.maximum((x.abs() - 0.85 * y.abs() - 0.06) * 0.76, y.abs() - 0.78)


_OUTLINES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "heart": _heart,
    "arrow": _arrow,
    "hourglass": _hourglass,
}
SHAPE_NAMES: tuple[str, ...] = tuple(_OUTLINES)


def draw_shapes(index: Tensor, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Draws the images of the given indices, each a pure function of (seed, index).

    Args:
        index: Int64 tensor (N,), not negative.
        seed: Names the data set; another seed gives other images.
        size: Side of the square images, in pixels.

    Returns:
        Images (N, 3, size, size) uint8, and labels (N,) int64 into `SHAPE_NAMES`. The label is the
        index modulo 10, so that every ten neighbours hold one image of each class.

    Raises:
        UserError: If the index is not a one-dimensional int64 tensor or the size is below 8.
    """
    if index.ndim != 1 or index.dtype != torch.int64:
        raise UserError(
            f"draw_shapes: index has shape {tuple(index.shape)} and dtype {index.dtype}; "
            "give a one-dimensional int64 tensor."
        )
    if size < 8:
        raise BadValue("size", size, "at least 8, to tell shapes apart")
    label = index % len(SHAPE_NAMES)
    images = torch.empty(len(index), 3, size, size, dtype=torch.uint8, device=index.device)
    for kind, outline in enumerate(_OUTLINES.values()):
        of_kind = (label == kind).nonzero()[:, 0]
        for start in range(0, len(of_kind), _CHUNK):
            rows = of_kind[start : start + _CHUNK]
            draws = uniform(index[rows], _NUM_DRAWS, SHAPES_STREAM, seed)
            images[rows] = _draw(outline, draws, size)
    return images, label


def _draw(outline: Callable[[Tensor, Tensor], Tensor], draws: Tensor, size: int) -> Tensor:
    """Images (N, 3, size, size) uint8 of one class from uniform numbers (N, _NUM_DRAWS)."""
    axis = (torch.arange(size, device=draws.device, dtype=torch.float32) * 2 + 1) / size - 1
    x, y = axis[None, None, :], -axis[None, :, None]
    cover = _coverage(outline, x, y, draws[:, :4], size)[:, None]
    shape_colour, ground_colour = _colours(draws[:, 4:11])
    light = _lighting(x, y, draws[:, 11:13])[:, None]
    colour = cover * shape_colour + (1 - cover) * ground_colour
    return ((colour * light).clamp(0, 1) * 255).round().to(torch.uint8)


def _coverage(
    outline: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, draws: Tensor, size: int
) -> Tensor:
    """The fraction of each pixel (N, size, size) that the shape covers, by distance in pixels."""
    angle = draws[:, 0] * (2 * math.pi)
    cos, sin = _per_pixel(angle.cos()), _per_pixel(angle.sin())
    radius = _per_pixel(_SMALLEST + (_LARGEST - _SMALLEST) * draws[:, 1])
    x = x - _per_pixel((draws[:, 2] * 2 - 1) * _SHIFT)
    y = y - _per_pixel((draws[:, 3] * 2 - 1) * _SHIFT)
    distance = outline((x * cos + y * sin) / radius, (y * cos - x * sin) / radius)
    return (0.5 - distance * radius * (size / 2)).clamp(0, 1)


def _colours(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Colours (N, 3, 1, 1) of shape and background, which differ in luma too, for grey images."""
    ground = _DARKEST + (_LIGHTEST - _DARKEST) * draws[:, 0]
    contrast = 0.3 + 0.1 * draws[:, 1]  # fits above or below any background's luma
    fits_up, fits_down = ground + contrast <= _LIGHTEST, ground - contrast >= _DARKEST
    up = fits_up & (~fits_down | (draws[:, 2] < 0.5))
    shape = torch.where(up, ground + contrast, ground - contrast)
    return _colour(shape, draws[:, 3], draws[:, 4]), _colour(ground, draws[:, 5], draws[:, 6])


def _colour(luma: Tensor, hue: Tensor, saturation: Tensor) -> Tensor:
    """Colours (N, 3, 1, 1) of the given luma; hue and saturation in [0, 1)."""
    angle = hue * (2 * math.pi)
    chroma = 0.5 * (luma * (1 - luma)).sqrt() * (0.35 + 0.65 * saturation)
    red, blue = chroma * angle.cos(), chroma * angle.sin()  # colour differences, as in video
    green = -(0.299 * red + 0.114 * blue) / 0.587
    return (luma[:, None] + torch.stack([red, green, blue], 1)).clamp(0, 1).float()[..., None, None]


def _lighting(x: Tensor, y: Tensor, draws: Tensor) -> Tensor:
    """A soft gradient (N, size, size) around 1, brighter towards one side."""
    angle, strength = draws[:, 0] * (2 * math.pi), 0.05 + 0.15 * draws[:, 1]
    return 1 + x * _per_pixel(strength * angle.cos()) + y * _per_pixel(strength * angle.sin())


def _per_pixel(value: Tensor) -> Tensor:
    """(N,) float64 to (N, 1, 1) float32, which also hides the last bit of cos and sin."""
    return value.float()[:, None, None]


_FIRST_TEST_SHAPE = 10**9  # above any training index: num_train does not change the test set


def shapes(seed: int = 0, num_train: int = 10_000, num_test: int = 2_000) -> Splits:
    """Ten kinds of shape in random colours and poses, 32x32, drawn by the program.

    Raises:
        UserError: A count is below 1.
    """
    for name, count in (("num_train", num_train), ("num_test", num_test)):
        if count < 1:
            raise BadValue(name, count, "at least 1")
    train = draw_shapes(torch.arange(num_train), seed)
    test = draw_shapes(torch.arange(num_test) + _FIRST_TEST_SHAPE, seed)
    return Splits(TensorImages(*train), TensorImages(*test), list(SHAPE_NAMES))
