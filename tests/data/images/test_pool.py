"""Splits pooled into one set of images, without copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_zoo.data import Splits, TensorImages
from ssl_zoo.data.images import TwoArrays


def test_pooled_arrays_are_read_in_place(splits: Splits) -> None:
    assert isinstance(splits.train, TensorImages)
    assert isinstance(splits.test, TensorImages)
    both = splits.train.pooled(splits.test)
    assert isinstance(both.images, TwoArrays)
    assert np.shares_memory(both.images.first, splits.train.images)
    assert np.shares_memory(both.images.second, splits.test.images)
    assert len(both) == 120
    index = torch.tensor([0, 119, 80, 79, 5])  # 80 are train's
    expected = [splits.train.batch(torch.tensor([i])) for i in (0,)]
    expected += [splits.test.batch(torch.tensor([39])), splits.test.batch(torch.tensor([0]))]
    expected += [splits.train.batch(torch.tensor([79])), splits.train.batch(torch.tensor([5]))]
    assert torch.equal(both.batch(index), torch.cat(expected))
    assert both.paths is not None
    assert both.paths[119].endswith("test/class19/1.png")
    assert torch.equal(both.labels, torch.cat([splits.train.labels, splits.test.labels]))


def test_parts_of_one_array_are_pooled_without_a_second() -> None:
    array: NDArray[np.uint8] = np.arange(6 * 3, dtype=np.uint8).reshape(6, 3, 1, 1)
    images = TensorImages(array, torch.arange(6))
    both = images.subset(torch.tensor([5, 1])).pooled(images.subset(torch.tensor([0])))
    assert both.images is array
    assert both.batch(torch.arange(3))[:, 0, 0, 0].tolist() == [15, 3, 0]


def test_subsets_keep_the_paths(splits: Splits) -> None:
    part = splits.train.subset(torch.tensor([79, 4]))
    assert [Path(p).parts[-2:] for p in part.paths or []] == [  # type: ignore[union-attr]
        ("class19", "3.png"),
        ("class01", "0.png"),
    ]
