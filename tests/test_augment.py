"""The batched image operations and draws, against torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from ssl_zoo.data import image_ops
from ssl_zoo.data.augment import OPS, Augmentation
from ssl_zoo.types import UserError

SIGNIFICANCE = 1e-3  # of each statistical test; seeds are fixed


def random_images(n: int = 6, height: int = 20, width: int = 26, seed: int = 0) -> Tensor:
    """Uint8 images with smooth and with gray, black and white parts, so that every case occurs."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)
    images[0, :, :5] = 0
    images[0, :, 5:9] = 255
    images[1:2] = images[1:2, :1]  # gray
    images[2:3] = images[2:3] // 64 * 64  # many ties between channels
    return images


def floats(n: int = 6, **kwargs: int) -> Tensor:
    return random_images(n, **kwargs).float() / 255


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
    ours = getattr(image_ops, f"adjust_{name}")(images, factor)
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


def uniform_p_value(values: Tensor, low: float, high: float) -> float:
    return float(stats.kstest(values.double().numpy(), stats.uniform(low, high - low).cdf).pvalue)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (32, 32, (0.08, 1.0), (3 / 4, 4 / 3)),
        (37, 120, (0.5, 1.0), (3 / 4, 4 / 3)),  # most tries fail here, and some crops are central
        (64, 48, (0.2, 0.6), (0.5, 1.5)),
    ],
)
def test_boxes_have_torchvisions_distribution(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    n = 3000
    augmentation = Augmentation(16, crop_scale=scale, crop_ratio=ratio, seed=5)
    ours = augmentation.draw(torch.arange(n), 0, 0, height, width).boxes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(3, height, width)
        theirs = torch.tensor(
            [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)]
        )
    statistics: list[Callable[[Tensor], Tensor]] = [
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 0] / (height - b[:, 2]).clamp(min=1),
        lambda b: b[:, 1] / (width - b[:, 3]).clamp(min=1),
    ]
    for statistic in statistics:
        test = stats.ks_2samp(statistic(ours).numpy(), statistic(theirs).numpy(), method="asymp")
        assert test.pvalue > SIGNIFICANCE
    assert bool((ours[:, :2] >= 0).all() & (ours[:, 2:] > 0).all())
    assert bool(
        (ours[:, 0] + ours[:, 2] <= height).all() & (ours[:, 1] + ours[:, 3] <= width).all()
    )


@pytest.mark.parametrize(("height", "width"), [(10, 300), (300, 10)])
def test_box_falls_back_to_torchvisions_central_crop(height: int, width: int) -> None:
    augmentation = Augmentation(16, crop_scale=(0.9, 1.0))
    boxes = augmentation.draw(torch.arange(5), 0, 0, height, width).boxes
    image = torch.empty(3, height, width)
    expected = RandomResizedCrop.get_params(image, [0.9, 1.0], [3 / 4, 4 / 3])
    assert boxes.tolist() == [list(expected)] * 5


def test_positions_include_both_ends() -> None:
    augmentation = Augmentation(4, crop_scale=(0.5, 0.9), crop_ratio=(1.0, 1.0))
    boxes = augmentation.draw(torch.arange(4000), 0, 0, 8, 8).boxes
    tops = boxes[boxes[:, 2] == 7, 0]
    assert stats.chisquare(torch.bincount(tops, minlength=2).numpy()).pvalue > SIGNIFICANCE


def test_factors_and_order_have_torchvisions_distribution() -> None:
    n = 4000
    augmentation = Augmentation(
        32, jitter=0.75, brightness=0.4, contrast=1.5, saturation=0.8, hue=0.1, blur=0.4
    )
    p = augmentation.draw(torch.arange(n), 3, 1, 32, 32)
    on = p.jitter
    assert uniform_p_value(p.brightness[on], 0.6, 1.4) > SIGNIFICANCE
    assert uniform_p_value(p.contrast[on], 0.0, 2.5) > SIGNIFICANCE
    assert uniform_p_value(p.saturation[on], 0.2, 1.8) > SIGNIFICANCE
    assert uniform_p_value(p.hue[on], -0.1, 0.1) > SIGNIFICANCE
    assert uniform_p_value(p.blur_sigma[p.blur], 0.1, 2.0) > SIGNIFICANCE
    for name, neutral in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        assert bool((getattr(p, name)[~on] == neutral).all())
    assert p.order.sort(1).values.tolist() == [[0, 1, 2, 3]] * n
    counts = torch.unique(p.order, dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > SIGNIFICANCE
    for name in ("flip", "jitter", "grayscale", "blur"):
        probability = {"flip": 0.5, "jitter": 0.75, "grayscale": 0.2, "blur": 0.4}[name]
        hits = int(getattr(p, name).sum())
        assert stats.binomtest(hits, n, probability).pvalue > SIGNIFICANCE
    assert not bool(p.solarize.any())


def test_draws_of_different_ops_are_independent() -> None:
    n = 4000
    sometimes = Augmentation(32, jitter=0.5, blur=0.5, grayscale=0.5, solarize=0.5)
    masks = sometimes.draw(torch.arange(n), 0, 0, 32, 32)
    p = Augmentation(32, jitter=1.0).draw(torch.arange(n), 0, 0, 32, 32)
    columns = [p.boxes[:, 2], p.boxes[:, 0], p.brightness, p.contrast, p.saturation, p.hue]
    columns += [p.order[:, 0], p.blur_sigma]
    columns += [masks.flip, masks.jitter, masks.grayscale, masks.blur, masks.solarize]
    correlation = torch.corrcoef(torch.stack([column.double() for column in columns]))
    correlation.fill_diagonal_(0)
    correlation[0, 1] = correlation[1, 0] = 0  # a tall box leaves less room
    assert float(correlation.abs().max()) < 4 / n**0.5


FULL: dict[str, Any] = {"flip": 0.5, "jitter": 0.8, "blur": 0.5, "solarize": 0.3}


def test_a_view_does_not_depend_on_its_batch() -> None:
    augmentation = Augmentation(24, **FULL, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), seed=7)
    images, index = random_images(64, 32, 32), torch.randperm(64) + 1000
    whole = augmentation(images, index, epoch=2)
    for start in range(0, 64, 8):
        part = slice(start, start + 8)
        for view, views in enumerate(augmentation(images[part], index[part], epoch=2)):
            torch.testing.assert_close(views, whole[view][part], atol=1e-6, rtol=1e-6)
        few = augmentation.draw(index[part], 2, 0, 32, 32)
        many = augmentation.draw(index, 2, 0, 32, 32)
        assert all(torch.equal(a, b[part]) for a, b in zip(few, many, strict=True))


def test_epoch_view_seed_and_index_change_every_draw() -> None:
    index = torch.arange(500)
    base = Augmentation(32, **FULL, seed=1).draw(index, 4, 0, 32, 32)
    others = [
        Augmentation(32, **FULL, seed=2).draw(index, 4, 0, 32, 32),
        Augmentation(32, **FULL, seed=1).draw(index, 5, 0, 32, 32),
        Augmentation(32, **FULL, seed=1).draw(index, 4, 1, 32, 32),
        Augmentation(32, **FULL, seed=1).draw(index + 1, 4, 0, 32, 32),
    ]
    for other in others:
        for name, before, after in zip(base._fields, base, other, strict=True):
            assert not torch.equal(before, after), name


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


def test_images_are_left_as_they_are_and_autocast_does_not_round() -> None:
    images, index = random_images(8, 16, 16), torch.arange(8)
    augmentation = Augmentation(16, **FULL)
    plain = augmentation(images, index, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = augmentation(images, index, 0)
    assert all(torch.equal(a, b) for a, b in zip(plain, half, strict=True))
    assert torch.equal(images, random_images(8, 16, 16))


@pytest.mark.parametrize(
    ("knobs", "place"),
    [
        ({"size": 0}, "size"),
        ({"num_views": 0}, "num_views"),
        ({"order": ["crop", "cutout"]}, "order"),
        ({"order": ["flip", "crop"]}, "order"),
        ({"order": ["crop", "blur", "blur"]}, "order"),
        ({"flip": 1.5}, "flip"),
        ({"jitter": -0.1}, "jitter"),
        ({"grayscale": float("nan")}, "grayscale"),
        ({"blur": "often"}, "blur"),
        ({"solarize": 2}, "solarize"),
        ({"solarize_threshold": 128}, "solarize_threshold"),
        ({"brightness": -1}, "brightness"),
        ({"hue": 0.6}, "hue"),
        ({"crop_scale": (0.9, 0.2)}, "crop_scale"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"crop_scale": 0.5}, "crop_scale"),
        ({"crop_ratio": (2.0, 1.0)}, "crop_ratio"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma"),
        ({"blur_kernel": 4}, "blur_kernel"),
        ({"blur_kernel": 65}, "blur_kernel"),
        ({"interpolation": "nearest"}, "interpolation"),
        ({"jitter_order": "shuffled"}, "jitter_order"),
        ({"views": [{}]}, "views"),
        ({"views": [{}, {"blurr": 0.1}]}, r"views\[1\]\.blurr"),
        ({"order": "crop"}, "order"),
        ({"views": [{"flip": 3}, {}]}, r"views\[0\]\.flip"),
        ({"mean": (0.5, 0.5, 0.5)}, "std"),
        ({"mean": (0.5, 0.5, 0.5), "std": (1.0, 0.0, 1.0)}, "std"),
    ],
)
def test_bad_knobs_are_named(knobs: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=rf"^augmentation\.{place}\b") as error:
        Augmentation(**{"size": 32, **knobs})
    assert "\n" not in str(error.value)


def test_bad_batches_are_refused() -> None:
    augmentation, index = Augmentation(8), torch.arange(2)
    with pytest.raises(UserError, match="uint8"):
        augmentation(torch.rand(2, 3, 8, 8), index, 0)
    with pytest.raises(UserError, match="list of 2"):
        augmentation([random_images(2, 8, 8)], index, 0)


def test_blur_kernel_follows_the_size() -> None:
    images, index = random_images(2, 24, 24), torch.arange(2)
    only_blur: dict[str, Any] = {"num_views": 1, "order": ["blur"], "blur": 1.0}
    automatic = Augmentation(24, **only_blur)(images, index, 0)[0]
    three = Augmentation(24, **only_blur, blur_kernel=3)(images, index, 0)[0]
    torch.testing.assert_close(automatic, three)
    assert OPS[0] == "crop"
