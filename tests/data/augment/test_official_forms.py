"""The forms of SimCLR's and BYOL's own code against plain numpy, written from their definitions."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from helpers.augmentation import SIGNIFICANCE, floats, random_images
from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.augment import ops as image_ops
from ssl_zoo.hashing import uniform
from ssl_zoo.types import UserError

Image = NDArray[np.float64]  # (H, W, 3) in [0, 1]

BYOL: dict[str, Any] = {  # conf/augmentation/byol.yaml as byol_imagenet has it, its first view
    "crop_form": "clip",
    "interpolation": "bicubic",
    "antialias": False,
    "brightness_form": "add",
    "contrast_form": "channel",
    "saturation_form": "hsv",
    "blur_padding": "zero",
    **{"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1},
    "solarize": 0.2,
}
SIMCLR = BYOL | {"crop_form": "tensorflow", "brightness_form": "multiply", "solarize": 0.0}


# --- the definitions ------------------------------------------------------------------------------


def clip(image: Image) -> Image:
    return np.clip(image, 0.0, 1.0)


def added(image: Image, delta: float) -> Image:
    return clip(image + delta)


def contrasted(image: Image, factor: float) -> Image:
    channels = [image[..., c] for c in range(3)]
    return clip(np.stack([factor * (c - c.mean()) + c.mean() for c in channels], axis=-1))


def through_hsv(image: Image, change: Callable[[float, float, float], Any]) -> Image:
    pixels = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*p))) for p in image.reshape(-1, 3)]
    return np.array(pixels).reshape(image.shape)


def saturated(image: Image, factor: float) -> Image:
    return through_hsv(image, lambda h, s, v: (h, min(1.0, max(0.0, s * factor)), v))


def hue_turned(image: Image, delta: float) -> Image:
    return through_hsv(image, lambda h, s, v: ((h + delta) % 1.0, s, v))


def blurred(image: Image, sigma: float, width: int) -> Image:
    """A depthwise convolution along each axis, zeros outside."""
    kernel = np.exp(-(np.arange(-(width // 2), width // 2 + 1.0) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        image = np.apply_along_axis(lambda line: np.convolve(line, kernel, "same"), axis, image)
    return image


def keys(x: float, a: float = -0.5) -> float:
    """Keys 1981, eq. 4, the cubic of `tf.image.resize`."""
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def triangle(x: float) -> float:
    return max(0.0, 1 - abs(x))


def resized(image: Image, size: int, kernel: Callable[[float], float]) -> Image:
    """Half-pixel centres, four taps however much the image shrinks; none lies outside."""
    for axis in (0, 1):
        lines = np.moveaxis(image, axis, 0)
        result = []
        for i in range(size):
            position = (i + 0.5) * len(lines) / size - 0.5
            first = int(np.floor(position)) - 1
            taps = [t for t in range(first, first + 4) if 0 <= t < len(lines)]
            weights = np.array([kernel(position - t) for t in taps])
            result.append(np.tensordot(weights / weights.sum(), lines[taps], 1))
        image = np.moveaxis(np.stack(result), 0, axis)
    return clip(image)


def clipped_box(u: list[float], height: int, width: int) -> list[int]:
    """BYOL's crop of area [0.08, 1] and log-uniform ratio [3/4, 4/3]."""
    area = (0.08 + (1 - 0.08) * u[0]) * height * width
    ratio = np.exp(np.log(3 / 4) + (np.log(4 / 3) - np.log(3 / 4)) * u[1])
    w = min(int(np.round(np.sqrt(area * ratio))), width)
    h = min(int(np.round(np.sqrt(area / ratio))), height)
    return [int(u[-2] * (height - h + 1)), int(u[-1] * (width - w + 1)), h, w]


def tensorflows_box(u: list[float], height: int, width: int) -> list[int]:
    """`tf.image.sample_distorted_bounding_box` with SimCLR's arguments."""
    smallest, largest = 0.08 * height * width, 1.0 * height * width
    for ratio_number, height_number in zip(u[0:20:2], u[1:20:2], strict=True):
        ratio = 3 / 4 + (4 / 3 - 3 / 4) * ratio_number
        low, high = (int(np.round(np.sqrt(area / ratio))) for area in (smallest, largest))
        if np.round(high * ratio) > width:
            high = int((width + 0.5 - 1e-7) / ratio)
            high -= np.round(high * ratio) > width
        high = min(high, height)
        low = min(low, high)
        h = low + int(height_number * (high - low + 1))
        if h * np.round(h * ratio) < smallest:
            h += 1
        if h * np.round(h * ratio) > largest:
            h -= 1
        w = int(np.round(h * ratio))
        inside = 0 < w <= width and 0 < h <= height and smallest <= h * w <= largest
        if inside and h * w / (height * width) >= 0.1:
            return [int(u[-2] * (height - h)), int(u[-1] * (width - w)), h, w]
    return [0, 0, height, width]


# --- against them ---------------------------------------------------------------------------------


def as_numpy(images: Tensor) -> list[Image]:
    return list(images.double().permute(0, 2, 3, 1).numpy())


def check(ours: Tensor, expected: list[Image], atol: float = 1e-5) -> None:
    theirs = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=0)


@pytest.mark.parametrize(
    ("form", "reference", "values"),
    [
        ("add", added, [-0.8, -0.4, 0.0, 0.1, 0.5, 0.8]),
        ("channel", contrasted, [0.0, 0.2, 0.9, 1.0, 1.3, 1.8]),
        ("hsv", saturated, [0.0, 0.2, 0.9, 1.0, 1.3, 1.8]),
    ],
)
def test_forms_of_the_jitter(
    form: str, reference: Callable[[Image, float], Image], values: list[float]
) -> None:
    ours = image_ops.FORMS[form](floats(), torch.tensor(values))
    check(ours, [reference(*pair) for pair in zip(as_numpy(floats()), values, strict=True)])


@pytest.mark.parametrize("kernel", [3, 9, 23])
def test_blur_with_zeros_outside(kernel: int) -> None:
    images = floats(n=4, height=26, width=30)
    sigma = torch.tensor([0.1, 0.7, 1.0, 2.0])
    ours = image_ops.gaussian_blur(images, sigma, kernel, padding="zero")
    pairs = zip(as_numpy(images), sigma.tolist(), strict=True)
    check(ours, [blurred(image, value, kernel) for image, value in pairs])
    white = image_ops.gaussian_blur(torch.ones(1, 3, 26, 26), torch.tensor([2.0]), 9, "zero")
    assert float(white[0, 0, 0, 0]) < 0.5 < float(white[0, 0, 13, 13])


@pytest.mark.parametrize(("name", "kernel"), [("bilinear", triangle), ("bicubic", keys)])
@pytest.mark.parametrize("size", [3, 24])
def test_resize_without_antialiasing(
    name: str, kernel: Callable[[float], float], size: int
) -> None:
    images = random_images(4, 20, 26)
    boxes = torch.tensor([[0, 0, 20, 26], [3, 5, 7, 19], [10, 20, 10, 6], [4, 4, 2, 2]])
    ours = image_ops.resized_crop(images, boxes, size, name, antialias=False)
    parts = [
        image[top : top + h, left : left + w] / 255
        for image, (top, left, h, w) in zip(as_numpy(images), boxes.tolist(), strict=True)
    ]
    check(ours, [resized(part, size, kernel) for part in parts])


@pytest.mark.parametrize(("form", "box"), [("clip", clipped_box), ("tensorflow", tensorflows_box)])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 120), (300, 20), (3, 4)])
def test_boxes(
    form: str, box: Callable[[list[float], int, int], list[int]], height: int, width: int
) -> None:
    index = torch.arange(400)
    boxes = Augmentation(16, crop_form=form, seed=5).draw(index, 3, 1, height, width).boxes
    numbers = uniform(index, 22, 5, 3, 1)
    assert boxes.tolist() == [box(row, height, width) for row in numbers.tolist()]
    assert bool((boxes[:, :2] >= 0).all() & (boxes[:, 2:] > 0).all())
    assert bool((boxes[:, 0] + boxes[:, 2] <= height).all())
    assert bool((boxes[:, 1] + boxes[:, 3] <= width).all())


def test_crops_are_clipped_and_not_redrawn() -> None:
    """Of a wide image torchvision keeps fewer large crops than are drawn."""
    index = torch.arange(2000)
    full = {
        form: Augmentation(16, crop_form=form).draw(index, 0, 0, 37, 120).boxes[:, 2] == 37
        for form in ("redraw", "clip", "tensorflow")
    }
    assert float(full["clip"].float().mean()) > 0.5
    assert all(float(full[form].float().mean()) < 0.2 for form in ("redraw", "tensorflow"))
    boxes = Augmentation(16, crop_form="tensorflow").draw(index, 0, 0, 64, 64).boxes
    assert int((boxes[:, 2] * boxes[:, 3]).min()) >= 0.1 * 64 * 64
    square = Augmentation(16, crop_form="tensorflow", crop_ratio=(1.0, 1.0), crop_scale=(0.25, 1.0))
    heights = square.draw(index, 0, 0, 64, 64).boxes[:, 2]
    counts = heights.bincount(minlength=65)[32:]
    assert stats.chisquare(counts.numpy()).pvalue > SIGNIFICANCE  # heights, not areas


def test_what_is_added_is_uniform_about_zero() -> None:
    augmentation = Augmentation(32, jitter=0.75, brightness=0.4, brightness_form="add")
    p = augmentation.draw(torch.arange(4000), 3, 1, 32, 32)
    cdf = stats.uniform(-0.4, 0.8).cdf
    assert stats.kstest(p.brightness[p.jitter].double().numpy(), cdf).pvalue > SIGNIFICANCE
    assert bool((p.brightness[~p.jitter] == 0).all())
    other = Augmentation(32, jitter=0.75, brightness=0.4).draw(torch.arange(4000), 3, 1, 32, 32)
    for name, ours, theirs in zip(p._fields, p, other, strict=True):
        assert torch.equal(ours, theirs) == (name != "brightness"), name


def whole_view(augmentation: Augmentation, images: Tensor, index: Tensor, added_to: bool) -> Any:
    """One view by the definitions, an image and an op at a time."""
    p = augmentation.draw(index, 0, 0, *images.shape[2:])
    brightness = added if added_to else lambda image, factor: clip(image * factor)
    operations = [brightness, contrasted, saturated, hue_turned]
    results = []
    for i, image in enumerate(as_numpy(images)):
        top, left, h, w = p.boxes[i].tolist()
        view = resized(image[top : top + h, left : left + w] / 255, augmentation.size, keys)
        view = view[:, ::-1] if p.flip[i] else view
        factors = [float(x[i]) for x in (p.brightness, p.contrast, p.saturation, p.hue)]
        for number in p.order[i].tolist() if p.jitter[i] else []:
            view = operations[number](view, factors[number])
        if p.grayscale[i]:
            view = np.repeat((view @ [0.2989, 0.5870, 0.1140])[..., None], 3, axis=-1)
        if p.blur[i]:
            view = blurred(view, float(p.blur_sigma[i]), 2 * (augmentation.size // 20) + 1)
        results.append(np.where(view < 0.5, view, 1 - view) if p.solarize[i] else view)
    return p, results


@pytest.mark.parametrize("knobs", [BYOL, SIMCLR], ids=["byol", "simclr"])
def test_whole_views(knobs: dict[str, Any]) -> None:
    augmentation = Augmentation(40, num_views=1, blur=0.7, **knobs)
    images, index = random_images(10, 30, 50), torch.arange(10)
    p, expected = whole_view(augmentation, images, index, knobs["brightness_form"] == "add")
    assert all(bool(mask.any()) for mask in (p.flip, p.jitter, p.grayscale, p.blur))
    ours = augmentation(images, index, 0)[0]
    theirs = torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2).float()
    far = (ours - theirs).abs() > 1e-3  # a value at solarisation's threshold falls on either side
    assert float(far.float().mean()) < 1e-3


def test_workers_crops_are_the_same_rounded() -> None:
    knobs = {"crop_form": "tensorflow", "antialias": False, "interpolation": "bicubic"}
    augmentation = Augmentation(20, order=["crop", "flip"], **knobs)
    images, index = random_images(6, 40, 56), torch.arange(6) + 50
    crops = [augmentation.crop(image, int(i), 1) for image, i in zip(images, index, strict=True)]
    batches = [torch.stack([crop[view] for crop in crops]) for view in range(2)]
    assert batches[0].dtype == torch.uint8
    for ours, whole in zip(
        augmentation(batches, index, 1), augmentation(images, index, 1), strict=True
    ):
        torch.testing.assert_close(ours, (whole * 255).round() / 255, atol=1e-6, rtol=0)


def test_a_view_may_have_a_form_of_its_own() -> None:
    images, index = random_images(8, 24, 24), torch.arange(8)
    both = Augmentation(24, views=[{}, {"contrast_form": "channel", "blur_padding": "zero"}])
    views = both(images, index, 0)
    plain = Augmentation(24)(images, index, 0)
    assert torch.equal(views[0], plain[0])
    assert not torch.allclose(views[1], plain[1], atol=1e-3)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"crop_form": "tf"}, "crop_form=tf: must be one of redraw, clip, tensorflow"),
        ({"antialias": "no"}, "antialias=no: must be one of true, false"),
        ({"antialias": 1}, "antialias=1: must be one of true, false"),
        ({"brightness_form": "hsv"}, "brightness_form=hsv: must be one of multiply, add"),
        ({"contrast_form": None}, "contrast_form=null: must be one of gray, channel"),
        ({"saturation_form": "rgb"}, "saturation_form=rgb: must be one of gray, hsv"),
        ({"blur_padding": 0}, "blur_padding=0: must be one of reflect, zero"),
        ({"views": [{"blur_padding": "same"}]}, "views[0].blur_padding=same: must be one of"),
        (
            {"crop_form": "tensorflow", "crop_scale": (0.02, 0.08)},
            "crop_scale=[0.02, 0.08]: must be [low, high] with high >= 0.1 where",
        ),
    ],
)
def test_forms_that_do_not_exist(knobs: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        Augmentation(32, **knobs)
    assert str(error.value).startswith(line)
