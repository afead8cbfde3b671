"""Whole views against torchvision's operations, image by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from helpers.augmentation import FULL, random_images
from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.augment import ops as image_ops
from ssl_zoo.types import UserError


def apply_one_by_one(
    augmentation: Augmentation, images: Tensor, index: Tensor, view: int, kernel: int
) -> Tensor:
    """The drawn parameters, applied with torchvision, an image and an op at a time."""
    n, _, height, width = images.shape
    p = augmentation.draw(index, 0, view, height, width)
    operations = [
        (reference.adjust_brightness, p.brightness),
        (reference.adjust_contrast, p.contrast),
        (reference.adjust_saturation, p.saturation),
        (reference.adjust_hue, p.hue),
    ]
    results = []
    for row in range(n):
        size = [augmentation.size] * 2
        image = reference.resized_crop(images[row].float() / 255, *p.boxes[row].tolist(), size)
        if p.flip[row]:
            image = reference.horizontal_flip(image)
        if p.jitter[row]:
            for number in p.order[row].tolist():
                operation, values = operations[number]
                image = operation(image, float(values[row]))
        if p.grayscale[row]:
            image = reference.rgb_to_grayscale(image, 3)
        if p.blur[row]:
            image = reference.gaussian_blur(image, [kernel] * 2, [float(p.blur_sigma[row])])
        if p.solarize[row]:
            image = reference.solarize(image, 0.5)
        results.append(image)
    return torch.stack(results)


def test_the_pipeline_equals_torchvision_and_honours_views() -> None:
    views: list[dict[str, Any]] = [
        {"blur": 1.0, "jitter_order": "fixed"},
        {"blur": 0.1, "solarize": 0.2},
    ]
    augmentation = Augmentation(40, views=views, seed=3)
    images, index = random_images(24, 30, 50), torch.arange(24)
    drawn = [augmentation.draw(index, 0, view, 30, 50) for view in range(2)]
    assert bool(drawn[0].blur.all())
    assert 0 < int(drawn[1].blur.sum()) < 12
    assert not bool(drawn[0].solarize.any())
    assert bool(drawn[1].solarize.any())
    assert drawn[0].order.tolist() == [[0, 1, 2, 3]] * 24
    for view, ours in enumerate(augmentation(images, index, epoch=0)):
        assert ours.shape == (24, 3, 40, 40)
        assert ours.dtype == torch.float32
        assert ours.is_contiguous()
        expected = apply_one_by_one(augmentation, images, index, view, kernel=5)
        # A value at the threshold may fall on either side of it.
        far = (ours - expected).abs() > 1e-3
        assert float(far.float().mean()) < 1e-3
        if view == 0:
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_order_of_ops_is_followed_and_left_out_ops_are_off() -> None:
    always: dict[str, Any] = {"num_views": 1, "grayscale": 1.0, "solarize": 1.0, "flip": 0.0}
    images, index = random_images(5, 16, 16), torch.arange(5)
    plain = Augmentation(16, order=["crop"], **always)(images, index, 0)[0]
    first = Augmentation(16, order=["crop", "solarize", "grayscale"], **always)(images, index, 0)[0]
    last = Augmentation(16, order=["crop", "grayscale", "solarize"], **always)(images, index, 0)[0]
    torch.testing.assert_close(first, image_ops.grayscale(image_ops.solarize(plain, 0.5)))
    torch.testing.assert_close(last, image_ops.solarize(image_ops.grayscale(plain), 0.5))
    assert not torch.allclose(first, last, atol=0.1)


def test_without_crop_the_view_is_the_central_square() -> None:
    images = random_images(3, 10, 14)
    view = Augmentation(10, num_views=1, order=[])(images, torch.arange(3), 0)[0]
    torch.testing.assert_close(view, images[:, :, :, 2:12].float() / 255)


def test_views_are_normalised_last() -> None:
    images, index = random_images(4, 16, 16), torch.arange(4)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])
    plain = Augmentation(16, solarize=0.5)(images, index, 0)
    normal = Augmentation(16, solarize=0.5, mean=mean.tolist(), std=std.tolist())(images, index, 0)
    for before, after in zip(plain, normal, strict=True):
        expected = reference.normalize(before, mean.tolist(), std.tolist())
        torch.testing.assert_close(after, expected)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_made_by_workers_become_the_same_views(interpolation: str) -> None:
    # No contrast and solarisation here: they would magnify the crops' rounding to uint8.
    augmentation = Augmentation(
        20, jitter=0, flip=0.5, blur=0.5, interpolation=interpolation, views=[{}, {"flip": 1.0}]
    )
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(12, 3, 8, 8, generator=generator), (40, 56), mode="bilinear"
    )
    images, index = (smooth * 255).byte(), torch.arange(12) + 50
    crops = [augmentation.crop(image, int(i), 1) for image, i in zip(images, index, strict=True)]
    assert crops[0][0].dtype == torch.uint8
    batches = [torch.stack([crop[view] for crop in crops]) for view in range(2)]
    originals = [batch.clone() for batch in batches]
    for ours, expected in zip(
        augmentation(batches, index, 1), augmentation(images, index, 1), strict=True
    ):
        torch.testing.assert_close(ours, expected, atol=1.5 / 255, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(batches, originals, strict=True))


MULTI_CROP: list[dict[str, Any]] = [
    {"count": 2},
    {"count": 3, "size": 12, "crop_scale": (0.05, 0.14), "blur": 1.0},
]


def test_an_entry_stands_for_as_many_views_as_it_counts() -> None:
    images, index = random_images(6, 30, 40), torch.arange(6) + 3
    counted = Augmentation(24, views=MULTI_CROP, seed=5)
    large, small = ({k: v for k, v in entry.items() if k != "count"} for entry in MULTI_CROP)
    spelled = Augmentation(24, views=[large] * 2 + [small] * 3, seed=5)
    assert counted.num_views == spelled.num_views == 5
    views = counted(images, index, 1)
    assert [view.shape[-1] for view in views] == [24, 24, 12, 12, 12]
    for ours, expected in zip(views, spelled(images, index, 1), strict=True):
        assert torch.equal(ours, expected)
    for ours, expected in zip(views[:2], Augmentation(24, seed=5)(images, index, 1), strict=True):
        assert torch.equal(ours, expected)  # further views leave the first ones as they were
    assert all(not torch.equal(views[i], views[j]) for i, j in ((0, 1), (2, 3), (3, 4)))
    boxes = counted.draw(index, 1, 4, 30, 40).boxes
    assert bool((boxes[:, 2] * boxes[:, 3] < 0.2 * 30 * 40).all())


def test_a_small_view_is_blurred_by_a_tenth_of_its_own_size() -> None:
    images, index = random_images(4, 60, 60), torch.arange(4)
    knobs: dict[str, Any] = {"order": ["crop", "blur"], "blur": 1.0}
    both = Augmentation(60, **knobs, views=[{}, {"size": 30}])(images, index, 0)
    assert torch.equal(both[0], Augmentation(60, **knobs, blur_kernel=7)(images, index, 0)[0])
    assert torch.equal(both[1], Augmentation(30, **knobs, blur_kernel=3)(images, index, 0)[1])


def test_workers_crop_each_view_at_its_own_size() -> None:
    augmentation = Augmentation(24, views=MULTI_CROP, jitter=0.0, grayscale=0.0, seed=5)
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(6, 3, 8, 8, generator=generator), (40, 56), mode="bilinear"
    )
    images, index = (smooth * 255).byte(), torch.arange(6) + 50
    crops = [augmentation.crop(image, int(i), 1) for image, i in zip(images, index, strict=True)]
    assert [tuple(crop.shape) for crop in crops[0]] == [(3, 24, 24)] * 2 + [(3, 12, 12)] * 3
    batches = [torch.stack([crop[view] for crop in crops]) for view in range(5)]
    for ours, expected in zip(
        augmentation(batches, index, 1), augmentation(images, index, 1), strict=True
    ):
        torch.testing.assert_close(ours, expected, atol=1.5 / 255, rtol=0)


def test_images_are_left_as_they_are_and_autocast_does_not_round() -> None:
    images, index = random_images(8, 16, 16), torch.arange(8)
    augmentation = Augmentation(16, **FULL)
    plain = augmentation(images, index, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = augmentation(images, index, 0)
    assert all(torch.equal(a, b) for a, b in zip(plain, half, strict=True))
    assert torch.equal(images, random_images(8, 16, 16))


def test_bad_batches_are_refused() -> None:
    augmentation, index = Augmentation(8), torch.arange(2)
    with pytest.raises(UserError, match="uint8"):
        augmentation(torch.rand(2, 3, 8, 8), index, 0)
    with pytest.raises(UserError, match="list of 2"):
        augmentation([random_images(2, 8, 8)], index, 0)
