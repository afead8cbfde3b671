"""Images in a tensor and images in files: subsets and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.files import open_folder, rgb, write_tree
from ssl_zoo.data.images import FileImages, TensorImages


@pytest.mark.parametrize("as_tensor", [True, False])
def test_subset_of_a_subset_picks_rows_and_labels(as_tensor: bool) -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4)).astype(np.uint8)
    images = TensorImages(torch.from_numpy(array) if as_tensor else array, torch.arange(9) * 10)
    part = images.subset(torch.tensor([8, 2, 5, 7])).subset(torch.tensor([3, 0, 3]))
    assert len(part) == 3
    assert part.images is images.images
    assert part.labels.tolist() == [70, 80, 70]
    assert part.batch(torch.tensor([1, 2])).equal(torch.from_numpy(array[[8, 7]]))


def test_batch_is_a_copy_that_may_be_written_to(root: Path) -> None:
    pixels = write_tree(root, "a.png", "b.png")
    images = open_folder(root).train
    assert isinstance(images, TensorImages)
    images.batch(torch.tensor([0, 1])).zero_()
    np.testing.assert_array_equal(rgb(images, 0), pixels["a.png"])


def test_file_images_subset_and_load(root: Path) -> None:
    pixels = write_tree(root, "a.png", "b.png", "c.png", mixed=True)
    images = open_folder(root).train
    assert isinstance(images, FileImages)
    part = images.subset(torch.tensor([2, 0]))
    assert len(part) == 2
    np.testing.assert_array_equal(rgb(part, 0), pixels["c.png"])
    np.testing.assert_array_equal(rgb(part, 1), pixels["a.png"])
