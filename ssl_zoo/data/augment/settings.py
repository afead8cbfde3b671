"""The settings of views: a view's knobs, their checks, and the settings of each view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.types import BadValue, UserError, as_typed, check_number, check_whole

OPS = ("crop", "flip", "jitter", "grayscale", "blur", "solarize")
# The jitter's forms, torchvision's first; in the order of the jitter's operations.
_JITTER_FORMS = {
    "brightness_form": ("multiply", "add"),
    "contrast_form": ("gray", "channel"),
    "saturation_form": ("gray", "hsv"),
}
_SMALL = 3 / 7  # side of multi-crop's small views over that of the others: SwAV's 96 of 224
LEAST_COVERED = 0.1  # of the image, with crop_form=tensorflow: min_object_covered of SimCLR's code
_CHOICES = {
    "crop_form": ("redraw", "clip", "tensorflow"),
    "interpolation": ("bilinear", "bicubic"),
    "antialias": (True, False),
    **_JITTER_FORMS,
    "jitter_order": ("random", "fixed"),
    "blur_padding": ("reflect", "zero"),
}


@dataclass(frozen=True)
class ViewSettings:
    """The knobs that may differ between views; see `Augmentation`."""

    size: int
    order: Sequence[str]
    crop_scale: Sequence[float]
    crop_ratio: Sequence[float]
    crop_form: str
    interpolation: str
    antialias: bool
    flip: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    brightness_form: str
    contrast_form: str
    saturation_form: str
    jitter_order: str
    grayscale: float
    blur: float
    blur_sigma: Sequence[float]
    blur_kernel: int | None
    blur_padding: str
    solarize: float
    solarize_threshold: float

    def probability(self, op: str) -> float:
        """The probability of an op; 0 if it is left out of `order`."""
        return float(getattr(self, op)) if op in self.order else 0.0

    @property
    def jitter_forms(self) -> dict[int, str]:
        """The forms of brightness, contrast and saturation that are not torchvision's."""
        forms = (self.brightness_form, self.contrast_form, self.saturation_form)
        names = zip(forms, _JITTER_FORMS.values(), strict=True)
        return {i: form for i, (form, (usual, _)) in enumerate(names) if form != usual}

    @property
    def blur_width(self) -> int:
        """Width of the kernel; SimCLR's tenth of the image, made odd: 23 for 224, 3 for 32."""
        return self.blur_kernel or max(3, 2 * (self.size // 20) + 1)


KNOBS = tuple(field.name for field in fields(ViewSettings))


def view_settings(**knobs: Any) -> ViewSettings:
    """The settings that all views start from.

    Raises:
        UserError: If a knob's value makes no sense.
    """
    shared = ViewSettings(**{name: _plain(value) for name, value in knobs.items()})
    _check(shared, "")
    return shared


def settings_of_views(
    shared: ViewSettings,
    num_views: int,
    views: Sequence[Mapping[str, Any]],
    small: Mapping[str, Any] | None = None,
) -> list[ViewSettings]:
    """The settings of each view, in the views' order.

    Args:
        shared: Values of the knobs that an entry does not name.
        num_views: How many views, if there are no entries.
        views: Entries, each the knobs that differ, and `count`, the number of views that it
            describes.
        small: An entry for the views that follow, whose `count` may be 0.

    Raises:
        UserError: If an entry makes no sense; the line names it.
    """
    check_whole("num_views", num_views)
    if isinstance(views, str) or not isinstance(views, Sequence):
        raise BadValue("views", views, "a list of views, such as [{blur: 1.0}, {blur: 0.1}]")
    settings: list[ViewSettings] = [] if views else [shared] * num_views
    for number, entry in enumerate(views):
        settings += _entry(shared, f"views[{number}]", entry)
    return settings + _small(shared, small)


def _small(shared: ViewSettings, entry: Mapping[str, Any] | None) -> list[ViewSettings]:
    """Those of multi-crop's small views."""
    if entry is None:
        return []
    if isinstance(entry, Mapping):
        check_whole("small.count", entry.get("count", 0), least=0)
        if not entry.get("count"):
            return []
        if entry.get("size") is None:
            entry = {**entry, "size": round(_SMALL * shared.size)}
    settings = _entry(shared, "small", entry)
    if settings[0].size >= shared.size:
        raise BadValue("small.size", settings[0].size, f"below {shared.size}, the others' size")
    return settings


def _entry(shared: ViewSettings, place: str, entry: Mapping[str, Any]) -> list[ViewSettings]:
    if not isinstance(entry, Mapping):
        raise BadValue(place, entry, "knobs and their values, such as {blur: 0.1}")
    for name in entry:
        if name not in (*KNOBS, "count"):
            says = f"is not a knob of a view: choose from {', '.join(KNOBS)}, count"
            raise BadValue(f"{place}.{name}", entry[name], says=says)
    knobs = {str(name): _plain(value) for name, value in entry.items()}
    count = knobs.pop("count", 1)
    check_whole(f"{place}.count", count)
    settings = replace(shared, **knobs)
    _check(settings, f"{place}.")
    return [settings] * count


def channel_scale(
    mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor | None, Tensor | None]:
    """Mean and standard deviation as (3, 1, 1) tensors, or neither.

    Raises:
        UserError: If one is missing, or is not three valid numbers.
    """
    if mean is None and std is None:
        return None, None
    for name, values in (("mean", mean), ("std", std)):
        if values is None or len(values) != 3:
            raise BadValue(name, values, "three numbers, or mean and std both null")
    channels = torch.tensor([list(mean or ()), list(std or ())])[:, :, None, None]
    if bool((channels[1] <= 0).any()):
        raise BadValue("std", std, "three numbers above 0")
    return channels[0], channels[1]


def _plain(value: Any) -> Any:
    """Lists of any kind, such as Hydra's, as tuples."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _ordered(place: str, value: Any, high: float) -> None:
    pair = isinstance(value, tuple) and len(value) == 2
    numeric = pair and all(isinstance(number, int | float) for number in value)
    if not (numeric and 0 < value[0] <= value[1] <= high):
        top = f" <= {high:g}" if high < math.inf else ""
        raise BadValue(place, value, f"[low, high] with 0 < low <= high{top}")


def _one_of(place: str, value: Any, choices: Sequence[str | bool]) -> None:
    if type(value) is not type(choices[0]) or value not in choices:  # 1 equals True
        names = [str(as_typed(choice)) for choice in choices]
        raise BadValue(place, value, f"one of {', '.join(names)}")


def _check(settings: ViewSettings, prefix: str) -> None:
    """Raise a UserError for the first invalid knob; `prefix` says in which view."""
    check_whole(f"{prefix}size", settings.size)
    _check_order(f"{prefix}order", settings.order)
    for name in ("flip", "jitter", "grayscale", "blur", "solarize", "solarize_threshold"):
        check_number(prefix + name, getattr(settings, name), 0, 1)
    for name in ("brightness", "contrast", "saturation"):
        check_number(prefix + name, getattr(settings, name))
    check_number(f"{prefix}hue", settings.hue, 0, 0.5)
    _ordered(f"{prefix}crop_scale", settings.crop_scale, 1)
    if settings.crop_form == "tensorflow" and settings.crop_scale[1] < LEAST_COVERED:
        allowed = f"[low, high] with high >= {LEAST_COVERED:g} where crop_form=tensorflow"
        raise BadValue(f"{prefix}crop_scale", settings.crop_scale, allowed)
    _ordered(f"{prefix}crop_ratio", settings.crop_ratio, math.inf)
    _ordered(f"{prefix}blur_sigma", settings.blur_sigma, math.inf)
    for name, choices in _CHOICES.items():
        _one_of(prefix + name, getattr(settings, name), choices)
    _check_blur_kernel(prefix, settings)


def _check_order(place: str, order: Any) -> None:
    if not isinstance(order, tuple):
        raise BadValue(place, order, f"a list of {', '.join(OPS)}")
    for op in order:
        _one_of(place, op, OPS)
    if len(set(order)) < len(order) or "crop" in order[1:]:
        raise BadValue(place, list(order), "each op once, crop first")


def _check_blur_kernel(prefix: str, settings: ViewSettings) -> None:
    place, kernel, size = f"{prefix}blur_kernel", settings.blur_kernel, settings.size
    if kernel is not None and (not isinstance(kernel, int) or kernel < 1 or kernel % 2 == 0):
        raise BadValue(place, kernel, "an odd number, or null")
    if kernel is None and size < 2 and prefix:
        raise BadValue(f"{prefix}size", size, "at least 2")
    if kernel is None and size < 2:
        raise UserError(f"views of {size} x {size} pixel are too small: use larger images")
    if settings.probability("blur") > 0 and settings.blur_width // 2 >= size:
        allowed = f"at most {2 * size - 1} for views of size {size}, unless blur is 0"
        raise BadValue(place, settings.blur_width, allowed)
