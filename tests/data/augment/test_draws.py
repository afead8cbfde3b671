"""The random draws of a view: their distributions, and what they depend on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from helpers.augmentation import FULL, SIGNIFICANCE, random_images
from ssl_zoo.data.augment import Augmentation


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
