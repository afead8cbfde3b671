"""Another kind of images: one raw file, read image by image, as a stream would be.

With `read_strip` and a YAML, this is all that a new format takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.data import Augmentation, Images, Splits
from ssl_zoo.data.samplers import EpochSampler


@dataclass(frozen=True, eq=False)
class Strip(Images):
    """Square images of one side, one after the other in each file."""

    side: int
    labels: Tensor
    frames: list[tuple[Path, int]]  # the file of each image, and its number therein

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    def subset(self, index: Tensor) -> Strip:
        return Strip(self.side, self.labels[index], [self.frames[i] for i in index.tolist()])

    def relabelled(self, labels: Tensor) -> Strip:
        return replace(self, labels=labels)

    def pooled(self, other: Strip) -> Strip:
        labels = torch.cat([self.labels, other.labels])
        return Strip(self.side, labels, self.frames + other.frames)

    def _read(self, i: int) -> Tensor:
        path, number = self.frames[i]
        length = 3 * self.side**2
        with path.open("rb") as file:
            file.seek(number * length)
            pixels = np.frombuffer(file.read(length), np.uint8)
        return torch.from_numpy(pixels.copy()).view(3, self.side, self.side)

    def _batch(self, index: Tensor) -> Tensor:
        return torch.stack([self._read(i) for i in index.tolist()])

    def train_batches(
        self, sampler: EpochSampler, augmentation: Augmentation, num_workers: int
    ) -> Iterable[Tensor]:
        return _Pass(self, sampler)

    def clean_batches(
        self, batches: Sequence[Tensor], geometry: Callable[[Tensor], Tensor], num_workers: int
    ) -> Iterable[Tensor]:
        return (geometry(self._batch(index)) for index in batches)

    def fingerprint(self) -> str:
        return hashlib.sha256(self._read(0).numpy().tobytes()).hexdigest()

    def places(self) -> NDArray[np.int64]:
        return np.array([number for _, number in self.frames])


class _Pass:
    def __init__(self, images: Strip, sampler: EpochSampler) -> None:
        self.images, self.sampler = images, sampler

    def __iter__(self) -> Iterator[Tensor]:
        return (self.images._batch(index) for index in self.sampler.pending())


def write_strip(root: Path, split: str, images: Tensor, labels: Tensor) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / f"{split}.raw").write_bytes(images.numpy().tobytes())
    np.save(root / f"{split}.npy", labels.numpy())


def read_strip(root: str | Path, side: int, class_names: Sequence[str]) -> Splits:
    """The data set of a folder that `write_strip` wrote train and test into."""

    def split(name: str) -> Strip:
        labels = torch.from_numpy(np.load(Path(root) / f"{name}.npy"))
        return Strip(side, labels, [(Path(root) / f"{name}.raw", i) for i in range(len(labels))])

    return Splits(split("train"), split("test"), list(class_names))
