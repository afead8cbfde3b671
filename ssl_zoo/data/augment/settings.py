"""The knobs of a view, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssl_zoo.types import UserError

OPS = ("crop", "flip", "jitter", "grayscale", "blur", "solarize")


@dataclass(frozen=True)
class _ViewSettings:
    """The knobs that may differ between views; see `Augmentation`."""

    order: Sequence[str]
    crop_scale: Sequence[float]
    crop_ratio: Sequence[float]
    interpolation: str
    flip: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    jitter_order: str
    grayscale: float
    blur: float
    blur_sigma: Sequence[float]
    blur_kernel: int | None
    solarize: float
    solarize_threshold: float

    def probability(self, op: str) -> float:
        """How often an op is applied; never when it is left out of `order`."""
        return float(getattr(self, op)) if op in self.order else 0.0


def _plain(value: Any) -> Any:
    """Lists of any kind, such as Hydra's, as tuples."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _within(place: str, value: Any, low: float, high: float) -> None:
    if not (isinstance(value, int | float) and low <= value <= high):
        bounds = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
        raise UserError(f"augmentation.{place}={value!r}: give a number {bounds}")


def _ordered(place: str, value: Any, high: float) -> None:
    pair = isinstance(value, tuple) and len(value) == 2
    numeric = pair and all(isinstance(number, int | float) for number in value)
    if not (numeric and 0 < value[0] <= value[1] <= high):
        top = f" <= {high:g}" if high < math.inf else ""
        raise UserError(
            f"augmentation.{place}={value!r}: give [low, high] with 0 < low <= high{top}"
        )


def _one_of(place: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"augmentation.{place}={value!r}: choose from {', '.join(choices)}")


def _check(settings: _ViewSettings, prefix: str, size: int) -> None:
    """Raise a UserError for the first knob that makes no sense; `prefix` says in which view."""
    order = settings.order
    if not isinstance(order, tuple):
        raise UserError(f"augmentation.{prefix}order={order!r}: give a list of {', '.join(OPS)}")
    for op in order:
        _one_of(f"{prefix}order", op, OPS)
    if len(set(order)) < len(order) or "crop" in order[1:]:
        raise UserError(f"augmentation.{prefix}order={order!r}: name each op once, and crop first")
    for name in ("flip", "jitter", "grayscale", "blur", "solarize", "solarize_threshold"):
        _within(prefix + name, getattr(settings, name), 0, 1)
    for name in ("brightness", "contrast", "saturation"):
        _within(prefix + name, getattr(settings, name), 0, math.inf)
    _within(f"{prefix}hue", settings.hue, 0, 0.5)
    _ordered(f"{prefix}crop_scale", settings.crop_scale, 1)
    _ordered(f"{prefix}crop_ratio", settings.crop_ratio, math.inf)
    _ordered(f"{prefix}blur_sigma", settings.blur_sigma, math.inf)
    _one_of(f"{prefix}interpolation", settings.interpolation, ("bilinear", "bicubic"))
    _one_of(f"{prefix}jitter_order", settings.jitter_order, ("random", "fixed"))
    kernel = settings.blur_kernel
    if kernel is not None and (not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0):
        raise UserError(f"augmentation.{prefix}blur_kernel={kernel!r}: give an odd number, or null")
    if settings.probability("blur") > 0 and _blur_kernel(settings, size) // 2 >= size:
        raise UserError(
            f"augmentation.{prefix}blur_kernel={_blur_kernel(settings, size)} is too wide for "
            f"augmentation.size={size}: at most {2 * size - 1} fits, or set blur=0"
        )


def _blur_kernel(settings: _ViewSettings, size: int) -> int:
    """SimCLR's tenth of the image, made odd: 23 for 224, 3 for 32."""
    return settings.blur_kernel or max(3, 2 * (size // 20) + 1)
