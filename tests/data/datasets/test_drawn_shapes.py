"""The shapes: pure functions of (seed, index), drawn where and as large as asked, not too easy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ssl_zoo.data.datasets import drawn_shapes as shapes
from ssl_zoo.data.datasets.drawn_shapes import SHAPE_NAMES, _circle, draw_shapes
from ssl_zoo.types import UserError


@pytest.fixture(scope="module")
def drawn() -> tuple[Tensor, Tensor]:
    return draw_shapes(torch.arange(12_000), seed=0)


def coverage(
    name: str, turn: float, radius: float, centre: tuple[float, float], size: int
) -> Tensor:
    """One coverage mask (size, size); the angle in turns, the rest in half image sides."""
    spread = shapes._LARGEST - shapes._SMALLEST
    shift = [0.5 + 0.5 * c / shapes._SHIFT for c in centre]
    draws = torch.tensor(
        [[turn, (radius - shapes._SMALLEST) / spread, *shift]], dtype=torch.float64
    )
    axis = (torch.arange(size) + 0.5) / (size / 2) - 1
    return shapes._coverage(
        shapes._OUTLINES[name], axis[None, None, :], -axis[None, :, None], draws, size
    )[0]


def test_shapes_and_types(drawn: tuple[Tensor, Tensor]) -> None:
    images, labels = drawn
    assert images.shape == (12_000, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert len(SHAPE_NAMES) == len(set(SHAPE_NAMES)) == 10
    empty_images, empty_labels = draw_shapes(torch.arange(0), seed=0, size=16)
    assert empty_images.shape == (0, 3, 16, 16)
    assert empty_labels.shape == (0,)


def test_classes_are_balanced(drawn: tuple[Tensor, Tensor]) -> None:
    labels = drawn[1]
    assert labels[:10_000].bincount().tolist() == [1000] * 10
    assert labels[10_000:].bincount().tolist() == [200] * 10


def test_same_pixels_whatever_the_batch(drawn: tuple[Tensor, Tensor]) -> None:
    images, labels = drawn
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(12_000)[:701])
    again, again_labels = draw_shapes(shuffled, seed=0)
    assert torch.equal(again, images[shuffled])
    assert torch.equal(again_labels, labels[shuffled])
    for i in (0, 7, 9_999, 11_999):
        assert torch.equal(draw_shapes(torch.tensor([i]), seed=0)[0][0], images[i])


def test_no_image_comes_twice(drawn: tuple[Tensor, Tensor]) -> None:
    assert len({image.tobytes() for image in drawn[0].numpy()}) == 12_000


def test_another_seed_gives_other_images(drawn: tuple[Tensor, Tensor]) -> None:
    images, labels = draw_shapes(torch.arange(50), seed=1)
    assert torch.equal(labels, drawn[1][:50])
    assert not any(torch.equal(a, b) for a, b in zip(images, drawn[0], strict=False))


def test_every_shape_stands_out_from_its_ground(drawn: tuple[Tensor, Tensor]) -> None:
    red, green, blue = drawn[0].float().unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert (luma.flatten(1).amax(1) - luma.flatten(1).amin(1)).min() > 35


def test_a_larger_drawing_is_the_same_picture() -> None:
    index = torch.arange(200)
    small, large = draw_shapes(index, seed=3)[0], draw_shapes(index, seed=3, size=128)[0]
    error = (avg_pool2d(large.float(), 4) - small.float()).abs()
    assert error.square().mean().sqrt() < 1.5  # jagged edges give 6


@pytest.mark.parametrize(
    ("name", "area"),  # in units of the squared outer radius
    [
        ("disc", math.pi * 0.85**2),
        ("ring", math.pi * (0.9**2 - 0.44**2)),
        ("square", 1.44**2),
        ("triangle", 3 * 0.5**2 * math.sqrt(3)),
        # Tips at 0.32 / cos 72, notches at 0.32 / cos 36: ten triangles at the centre.
        ("star", 5 * 0.32**2 * math.tan(math.pi / 5) / math.cos(2 * math.pi / 5)),
        ("cross", 2 * 1.8 * 0.54 - 0.54**2),
        ("heart", 1 + math.pi * 0.25),
    ],
)
def test_areas(name: str, area: float) -> None:
    mask = coverage(name, turn=0.1, radius=0.7, centre=(0.05, -0.1), size=64)
    assert mask.sum().item() == pytest.approx(area * (0.7 * 32) ** 2, rel=0.01)


@pytest.mark.parametrize("name", SHAPE_NAMES)
def test_edges_are_smooth_as_by_supersampling(name: str) -> None:
    mask = coverage(name, turn=0.07, radius=0.75, centre=(0.1, 0.05), size=32)
    fine = coverage(name, turn=0.07, radius=0.75, centre=(0.1, 0.05), size=512) > 0.5
    exact = avg_pool2d(fine[None].float(), 16)[0]
    edge = (exact > 0) & (exact < 1)
    assert edge.sum() > 40
    assert (mask - exact)[edge].abs().mean() < 0.08
    assert torch.equal(mask[~edge] > 0.5, exact[~edge] > 0.5)


def test_disc_is_where_it_was_put() -> None:
    mask = coverage("disc", turn=0.0, radius=0.6, centre=(0.2, -0.15), size=32)
    axis = (torch.arange(32) + 0.5) / 16 - 1
    assert ((mask.sum(0) * axis).sum() / mask.sum()).item() == pytest.approx(0.2, abs=1e-3)
    assert ((mask.sum(1) * -axis).sum() / mask.sum()).item() == pytest.approx(-0.15, abs=1e-3)


def test_quarter_turn_is_counter_clockwise() -> None:
    upright = coverage("arrow", turn=0.0, radius=0.7, centre=(0.0, 0.0), size=32)
    turned = coverage("arrow", turn=0.25, radius=0.7, centre=(0.0, 0.0), size=32)
    torch.testing.assert_close(turned, upright.rot90(), atol=1e-4, rtol=0)
    assert not torch.allclose(upright, turned, atol=0.5)


def test_raw_pixels_are_a_poor_guide(drawn: tuple[Tensor, Tensor]) -> None:
    pixels = drawn[0].flatten(1).numpy().astype(np.float32) / 127.5 - 1
    labels = drawn[1].numpy()
    knn = KNeighborsClassifier(20, metric="cosine", weights="distance")
    knn.fit(pixels[:9_000], labels[:9_000])
    assert 0.15 < knn.score(pixels[10_000:10_500], labels[10_000:10_500]) < 0.36


@pytest.mark.parametrize("index", [torch.zeros(2, 3, dtype=torch.int64), torch.zeros(4)])
def test_a_wrong_index_is_named(index: Tensor) -> None:
    with pytest.raises(UserError, match="index has shape"):
        draw_shapes(index, seed=0)


def test_a_tiny_size_is_refused() -> None:
    with pytest.raises(UserError, match="size=4"):
        draw_shapes(torch.arange(3), seed=0, size=4)


def test_round_outlines_are_rounded_as_on_every_other_cpu() -> None:
    """A square root in float32 is MKL's, whose last bit depends on the CPU."""
    x, y = torch.rand(2, 100_000, generator=torch.Generator().manual_seed(0)).unbind()
    exact = np.sqrt((x * x + y * y).double().numpy()).astype(np.float32)
    assert torch.equal(_circle(x, y, 0.0), torch.from_numpy(exact))
