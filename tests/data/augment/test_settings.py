"""Settings of an augmentation that make no sense are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers.augmentation import random_images
from ssl_zoo.data.augment import OPS, Augmentation
from ssl_zoo.types import UserError


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
        ({"views": [{}, {"blurr": 0.1}]}, r"views\[1\]\.blurr"),
        ({"views": [{}, {"size": 0}]}, r"views\[1\]\.size"),
        ({"views": [{"count": 0}]}, r"views\[0\]\.count"),
        ({"views": [{"count": 1.5}]}, r"views\[0\]\.count"),
        ({"views": [{"size": 16, "blur_kernel": 33}]}, r"views\[0\]\.blur_kernel"),
        ({"views": [96]}, r"views\[0\]"),
        ({"small": {"count": -1}}, r"small\.count=-1: must be a whole number of at least 0"),
        ({"small": {"count": False}}, r"small\.count=false"),
        ({"small": {"count": 2, "size": 1}}, r"small\.size=1: must be at least 2"),
        ({"small": {"count": 2, "size": 32}}, r"small\.size"),
        ({"small": {"count": 2, "size": 0}}, r"small\.size"),
        ({"small": {"count": 2, "blurr": 0}}, r"small\.blurr"),
        ({"small": {"count": 2, "crop_scale": 0.1}}, r"small\.crop_scale"),
        ({"small": 6}, "small"),
        ({"order": "crop"}, "order"),
        ({"views": [{"flip": 3}, {}]}, r"views\[0\]\.flip"),
        ({"mean": (0.5, 0.5, 0.5)}, "std"),
        ({"mean": (0.5, 0.5, 0.5), "std": (1.0, 0.0, 1.0)}, "std"),
    ],
)
def test_bad_knobs_are_named(knobs: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=rf"^{place}(?![\w.])") as error:
        Augmentation(**{"size": 32, **knobs})
    assert "\n" not in str(error.value)


def test_small_views_follow_and_have_three_sevenths_of_the_size() -> None:
    """SwAV's 96 of 224; other knobs are those of all views unless they are named."""
    assert Augmentation(224, small={"count": 2}).sizes == [224, 224, 96, 96]
    two = Augmentation(32, views=[{"blur": 1.0}, {"blur": 0.1}], small={"count": 1, "flip": 0.0})
    assert (two.sizes, two.num_views) == ([32, 32, 14], 3)
    drawn = [two.draw(torch.arange(200), 0, view, 32, 32) for view in range(3)]
    assert drawn[0].blur.all()
    assert 0 < int(drawn[2].blur.sum()) < 200
    assert not drawn[2].flip.any()
    assert Augmentation(32, small={"count": 0, "size": 96}).sizes == [32, 32]


def test_too_small_images_are_blamed_and_not_the_blur() -> None:
    with pytest.raises(UserError, match=r"^views of 1 x 1 pixel are too small: use larger images$"):
        Augmentation(1)


def test_blur_kernel_follows_the_size() -> None:
    images, index = random_images(2, 24, 24), torch.arange(2)
    only_blur: dict[str, Any] = {"num_views": 1, "order": ["blur"], "blur": 1.0}
    automatic = Augmentation(24, **only_blur)(images, index, 0)[0]
    three = Augmentation(24, **only_blur, blur_kernel=3)(images, index, 0)[0]
    torch.testing.assert_close(automatic, three)
    assert OPS[0] == "crop"
