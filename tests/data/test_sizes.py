"""One photo of another size changes neither the views' size nor the statistics of a folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.files import open_folder
from ssl_zoo.data import Augmentation, DataModule, FileImages, TensorImages
from ssl_zoo.data.preprocess import IMAGENET_MEAN


def write_photos(root: Path, sizes: list[tuple[int, int]]) -> None:
    generator = np.random.default_rng(0)
    for i, (height, width) in enumerate(sizes):
        (root / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        flat = np.full((height, width, 3), generator.integers(100, 200, 3), np.uint8)
        Image.fromarray(flat).save(root / "ab"[i % 2] / f"{i:02d}.png")


def data_of(root: Path, **options: Any) -> DataModule:
    return DataModule(open_folder(root), Augmentation, batch_size=4, num_workers=0, **options)


@pytest.mark.parametrize("size", [(32, 40), (300, 280)])
def test_one_photo_that_is_a_pixel_smaller_changes_no_regime(
    tmp_path: Path, size: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    write_photos(tmp_path / "same", [size] * 12)
    write_photos(tmp_path / "data", [size] * 11 + [(size[0] - 1, size[1])])
    same = data_of(tmp_path / "same")
    with caplog.at_level(logging.INFO, logger="ssl_zoo"):
        odd = data_of(tmp_path / "data")
    line = f"11 images in {tmp_path}/data are {size[1]} x {size[0]} pixels (width x height); 1 of"
    assert any(message.startswith(line) for message in caplog.messages)
    assert isinstance(same.train, TensorImages if size == (32, 40) else FileImages)
    assert isinstance(odd.train, FileImages)
    for data in (same, odd):
        assert data.preprocess.image_size == data.view_size == min(*size, 224)
        assert data.preprocess.crop_fraction == 1
    np.testing.assert_allclose(odd.preprocess.mean, same.preprocess.mean, atol=0.01)
    np.testing.assert_allclose(odd.preprocess.std, same.preprocess.std, atol=0.01)


def test_the_size_is_capped_unless_it_is_given(root: Path) -> None:
    write_photos(root, [(240, 480)] * 4)
    assert data_of(root).preprocess.image_size == 224
    assert data_of(root, image_size=240).preprocess.image_size == 240


def test_mixed_sizes_are_cropped_as_before(root: Path) -> None:
    write_photos(root, [(30, 40), (40, 30), (50, 50), (30, 41)] * 3)
    preprocess = data_of(root).preprocess
    assert (preprocess.image_size, preprocess.crop_fraction) == (224, 0.875)
    np.testing.assert_allclose(preprocess.mean.flatten(), IMAGENET_MEAN)


def test_the_room_of_the_cache_changes_no_regime(root: Path) -> None:
    write_photos(root, [(32, 32)] * 6)
    small = DataModule(open_folder(root), Augmentation, batch_size=2)
    large = DataModule(
        open_folder(root, cache_limit_gb=1e-6), Augmentation, batch_size=2, num_workers=0
    )
    assert isinstance(large.train, FileImages)
    assert small.preprocess.options() == large.preprocess.options()
