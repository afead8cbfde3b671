"""The batched image operations against torchvision's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from helpers.augmentation import floats, random_images
from ssl_zoo.data.augment import ops as image_ops


def stacked(operation: Any, images: Tensor, values: Tensor) -> Tensor:
    return torch.stack(
        [operation(image, value) for image, value in zip(images, values.tolist(), strict=True)]
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [1, 7, 24, 41])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resized_crop_equals_torchvision(interpolation: str, size: int, dtype: torch.dtype) -> None:
    images = random_images(8, 20, 30)
    generator = torch.Generator().manual_seed(size)
    high = torch.tensor([1, 20, 20, 3, 11, 7, 16, 2])
    wide = torch.tensor([1, 30, 5, 29, 11, 24, 7, 2])
    top = (torch.rand(8, generator=generator) * (21 - high)).long()
    left = (torch.rand(8, generator=generator) * (31 - wide)).long()
    boxes = torch.stack((top, left, high, wide), 1)
    flip = torch.arange(8) % 2 == 1
    given = images if dtype == torch.uint8 else images.float() / 255
    ours = image_ops.resized_crop(given, boxes, size, interpolation, flip)
    for image, box, flipped, result in zip(images, boxes.tolist(), flip, ours, strict=True):
        mode = reference.InterpolationMode(interpolation)
        expected = reference.resized_crop(
            image.float() / 255, *box, [size, size], mode, antialias=True
        )
        expected = expected.flip(-1) if flipped else expected
        torch.testing.assert_close(result, expected.clamp(0, 1), atol=1e-4, rtol=0)


def test_hflip_flips_only_where_told() -> None:
    images = random_images(4)
    flipped = image_ops.hflip(images, torch.tensor([True, False, False, True]))
    assert torch.equal(flipped[[0, 3]], reference.horizontal_flip(images[[0, 3]]))
    assert torch.equal(flipped[1:3], images[1:3])
    assert torch.equal(images, random_images(4))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends_equal_torchvision(name: str) -> None:
    images, factor = floats(), torch.tensor([0.0, 0.4, 0.9, 1.0, 1.3, 1.8])
    neutral = {key: torch.ones(6) for key in ("brightness", "contrast", "saturation")}
    ours = image_ops.color_jitter(images, **{**neutral, name: factor}, hue=torch.zeros(6))
    expected = stacked(getattr(reference, f"adjust_{name}"), images, factor)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shift", [-0.5, -0.21, 0.0, 0.07, 0.33, 0.5])
def test_hue_equals_torchvision(shift: float) -> None:
    images = floats()
    ours = image_ops.adjust_hue(images, torch.full((6,), shift))
    expected = reference.adjust_hue(images, shift)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_grayscale_equals_torchvision() -> None:
    expected = reference.rgb_to_grayscale(floats(), num_output_channels=3)
    torch.testing.assert_close(image_ops.grayscale(floats()), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel", [1, 3, 9, 23])
def test_blur_equals_torchvision(kernel: int) -> None:
    images, sigma = floats(), torch.tensor([0.1, 0.3, 0.7, 1.0, 1.6, 2.0])
    expected = stacked(
        lambda x, s: reference.gaussian_blur(x, [kernel, kernel], [s]), images, sigma
    )
    ours = image_ops.gaussian_blur(images, sigma, kernel)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_solarize_equals_torchvision() -> None:
    images, threshold = floats(), torch.tensor([0.0, 0.2, 0.5, 0.6, 0.9, 1.0])
    expected = stacked(reference.solarize, images, threshold)
    torch.testing.assert_close(image_ops.solarize(images, threshold), expected)
    torch.testing.assert_close(image_ops.solarize(images, 0.5), reference.solarize(images, 0.5))


@pytest.mark.parametrize("fixed", [False, True])
def test_color_jitter_equals_torchvision_in_every_order(fixed: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    orders = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = orders[[len(set(row)) == 4 for row in orders.tolist()]]  # all 24
    images = floats(24, height=9, width=8)
    factors = 0.2 + 1.6 * torch.rand(24, 3, generator=generator)
    hue = torch.rand(24, generator=generator) - 0.5
    hue[3] = 0
    parameters = torch.cat((factors, hue[:, None]), 1)
    operations = [reference.adjust_brightness, reference.adjust_contrast,
                  reference.adjust_saturation, reference.adjust_hue]  # fmt: skip
    expected = []
    for image, values, order in zip(images, parameters.tolist(), orders.tolist(), strict=True):
        for number in range(4) if fixed else order:
            image = operations[number](image, values[number])
        expected.append(image)
    brightness, contrast, saturation = factors.unbind(1)
    order = None if fixed else orders
    ours = image_ops.color_jitter(images, brightness, contrast, saturation, hue, order)
    torch.testing.assert_close(ours, torch.stack(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(images, floats(24, height=9, width=8))
