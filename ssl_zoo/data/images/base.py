"""What a data set is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ssl_zoo.data.images.files import FileImages
from ssl_zoo.data.images.tensor import TensorImages, TwoArrays

Images = TensorImages | FileImages


def pool(first: Images, second: Images) -> Images:
    """The images of both, the second's after the first's; no pixel is copied."""
    labels = torch.cat([first.labels, second.labels])
    if isinstance(first, FileImages) and isinstance(second, FileImages):
        return FileImages(first.paths + second.paths, labels)
    assert isinstance(first, TensorImages)
    assert isinstance(second, TensorImages)
    rows = [torch.arange(len(x)) if x.rows is None else x.rows for x in (first, second)]
    paths = None if first.paths is None or second.paths is None else first.paths + second.paths
    if first.images is second.images:
        return TensorImages(first.images, labels, torch.cat(rows), paths)
    arrays = TwoArrays(np.asarray(first.images), np.asarray(second.images))
    below = torch.cat([rows[0], rows[1] + first.images.shape[0]])
    return TensorImages(arrays, labels, below, paths)


class Splits(NamedTuple):
    """What a data set is made of.

    Attributes:
        train: Training images.
        test: Test images, None when the data set has none.
        class_names: Name of each label; empty when the images are unlabelled.
        mean: Of R, G, B in [0, 1] over train; None when it is not known beforehand.
        std: Likewise.
    """

    train: Images
    test: Images | None
    class_names: list[str]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
