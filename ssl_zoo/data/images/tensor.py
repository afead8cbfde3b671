"""Images that share one small size, in one array."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class TwoArrays:
    """Two arrays of images that are read as one, the second below the first; neither is copied.

    Args:
        first: (M1, 3, H, W) uint8; may be memory-mapped.
        second: (M2, 3, H, W) uint8, of the same H and W.
    """

    def __init__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
        self.first, self.second = first, second
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies rows (n,) to an array (n, 3, H, W)."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        below = rows >= len(self.first)
        out[~below] = self.first[rows[~below]]
        out[below] = self.second[rows[below] - len(self.first)]
        return out


@dataclass(frozen=True, eq=False)
class TensorImages:
    """Images that share one small size, in one array.

    Attributes:
        images: (M, 3, H, W) uint8; a numpy array may be memory-mapped.
        labels: (N,) int64, -1 = unlabelled.
        rows: (N,) int64, the array's row of each image; None when M = N and they stand in order.
        paths: The N files that they were decoded from; None where there are none.
    """

    images: NDArray[np.uint8] | Tensor | TwoArrays
    labels: Tensor
    rows: Tensor | None = None
    paths: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: Tensor) -> TensorImages:
        """The images at `index`, an int64 tensor; shares the array."""
        rows = index if self.rows is None else self.rows[index]
        paths = None if self.paths is None else [self.paths[i] for i in index.tolist()]
        return TensorImages(self.images, self.labels[index], rows, paths)

    def batch(self, index: Tensor) -> Tensor:
        """Copies the images at `index` (n,) int64 to a uint8 tensor (n, 3, H, W)."""
        rows = index if self.rows is None else self.rows[index]
        if isinstance(self.images, Tensor):
            return self.images[rows]
        return torch.from_numpy(self.images[rows.numpy()])
