"""Images that share one small size, in one array."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.images.base import Images
from ssl_zoo.data.listing import together
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.types import UserError

_SAMPLED = 256  # images of a split whose pixels identify it


class TwoArrays:
    """Two arrays of images that are read as one, the second below the first; neither is copied.

    Args:
        first: (M1, 3, H, W) uint8; may be memory-mapped, or two arrays itself.
        second: (M2, 3, H, W) uint8, of the same H and W; likewise.
    """

    def __init__(
        self, first: NDArray[np.uint8] | TwoArrays, second: NDArray[np.uint8] | TwoArrays
    ) -> None:
        self.first, self.second = first, second
        self.shape: tuple[int, ...] = (first.shape[0] + second.shape[0], *first.shape[1:])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies rows (n,) to an array (n, 3, H, W)."""
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        below = rows >= self.first.shape[0]
        out[~below] = self.first[rows[~below]]
        out[below] = self.second[rows[below] - self.first.shape[0]]
        return out


@dataclass(frozen=True, eq=False)
class TensorImages(Images):
    """Images that share one small size, in one array; a batch is one indexing, without workers.

    Attributes:
        images: (M, 3, H, W) uint8; a numpy array may be memory-mapped.
        labels: (N,) int64, -1 = unlabelled.
        rows: (N,) int64, the array's row of each image; None if M = N and they are in order.
        paths: The N files that they were decoded from; None if there are none.
        left_out: Files that were not read, by reason.
    """

    images: NDArray[np.uint8] | Tensor | TwoArrays
    labels: Tensor
    rows: Tensor | None = None
    paths: list[str] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows is None and self.images.shape[0] != len(self.labels):
            raise UserError(
                f"{len(self.labels)} labels for {self.images.shape[0]} images: give one each, or -1"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.images.shape[-2:]
        return height, width

    def subset(self, index: Tensor) -> TensorImages:
        """The images at `index`, an int64 tensor; shares the array."""
        rows = index if self.rows is None else self.rows[index]
        paths = None if self.paths is None else [self.paths[i] for i in index.tolist()]
        return replace(self, labels=self.labels[index], rows=rows, paths=paths)

    def relabelled(self, labels: Tensor) -> TensorImages:
        """The same images with other labels (N,)."""
        return replace(self, labels=labels)

    def pooled(self, other: TensorImages) -> TensorImages:
        """The images of both, the other's after these; shares the arrays."""
        labels = torch.cat([self.labels, other.labels])
        rows, below = self._own_rows(), other._own_rows()
        paths = None if self.paths is None or other.paths is None else self.paths + other.paths
        left_out = together(self.left_out, other.left_out)
        if self.images is other.images:
            return TensorImages(self.images, labels, torch.cat([rows, below]), paths, left_out)
        arrays = TwoArrays(_array(self.images), _array(other.images))
        rows = torch.cat([rows, below + self.images.shape[0]])
        return TensorImages(arrays, labels, rows, paths, left_out)

    def _own_rows(self) -> Tensor:
        return torch.arange(len(self)) if self.rows is None else self.rows

    def batch(self, index: Tensor) -> Tensor:
        """Copies the images at `index` (n,) int64 to a uint8 tensor (n, 3, H, W)."""
        rows = index if self.rows is None else self.rows[index]
        if isinstance(self.images, Tensor):
            return self.images[rows]
        return torch.from_numpy(self.images[rows.numpy()])

    def train_batches(
        self, sampler: EpochSampler, augmentation: Augmentation, num_workers: int
    ) -> Iterable[Tensor]:
        """Whole images; the views are cropped on the device."""
        return _Epochs(self, sampler)

    def clean_batches(
        self, batches: Sequence[Tensor], geometry: Callable[[Tensor], Tensor], num_workers: int
    ) -> Iterable[Tensor]:
        """The images, resized batch by batch."""
        return (geometry(self.batch(index)) for index in batches)

    def fingerprint(self) -> str:
        """A hash of some of the pixels."""
        some = torch.linspace(0, max(0, len(self) - 1), min(_SAMPLED, len(self))).long()
        return hashlib.sha256(self.batch(some).numpy().tobytes()).hexdigest()

    def files(self) -> list[str] | None:
        """The paths, where the images were decoded from files."""
        return self.paths

    def places(self) -> NDArray[Any]:
        """The files' paths, else the rows of the original array."""
        return np.array(self.paths) if self.paths is not None else self._own_rows().cpu().numpy()


def _array(images: NDArray[np.uint8] | Tensor | TwoArrays) -> NDArray[np.uint8] | TwoArrays:
    return images if isinstance(images, TwoArrays) else np.asarray(images)


class _Epochs:
    """The sampler's pending batches of images, in each pass."""

    def __init__(self, images: TensorImages, sampler: EpochSampler) -> None:
        self.images, self.sampler = images, sampler

    def __iter__(self) -> Iterator[Tensor]:
        return (self.images.batch(index) for index in self.sampler.pending())
