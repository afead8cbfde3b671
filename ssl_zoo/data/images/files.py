"""Images of large or mixed sizes, in files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.decode import decode
from ssl_zoo.data.images.base import Images
from ssl_zoo.data.listing import together
from ssl_zoo.data.pixels import to_chw
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.types import UserError


@dataclass(frozen=True, eq=False)
class FileImages(Images):
    """Images of large or mixed sizes, decoded one by one on demand.

    Attributes:
        paths: N image files.
        labels: (N,) int64, -1 = unlabelled.
        left_out: Files that were not read, by reason.
        common: (H, W) that all files have, or nearly all; None = mixed, or not known.
        white: The value that is white in files of 16 bits; None = 65535.
    """

    paths: list[str]
    labels: Tensor
    left_out: Mapping[str, int] = field(default_factory=dict)
    common: tuple[int, int] | None = None
    white: int | None = None

    @property
    def size(self) -> None:
        """None: the files may be of any size."""

    @property
    def common_size(self) -> tuple[int, int] | None:
        """(H, W) that all files have, or nearly all."""
        return self.common

    def subset(self, index: Tensor) -> FileImages:
        """The images at `index`, an int64 tensor."""
        paths = [self.paths[i] for i in index.tolist()]
        return replace(self, paths=paths, labels=self.labels[index])

    def relabelled(self, labels: Tensor) -> FileImages:
        """The same images with other labels (N,)."""
        return replace(self, labels=labels)

    def pooled(self, other: FileImages) -> FileImages:
        """The images of both, the other's after these."""
        return replace(
            self,
            paths=self.paths + other.paths,
            labels=torch.cat([self.labels, other.labels]),
            left_out=together(self.left_out, other.left_out),
            common=self.common if self.common == other.common else None,
        )

    def load(self, i: int) -> Tensor:
        """Decodes image i to a uint8 tensor (3, H, W).

        Raises:
            UserError: The file does not decode; the line names it.
        """
        return to_chw(decode(self.paths[i], self.white))

    def train_batches(
        self, sampler: EpochSampler, augmentation: Augmentation, num_workers: int
    ) -> Iterable[list[Tensor]]:
        """Crops, made by workers that live as long as the returned object.

        Raises:
            UserError: During iteration, if a file does not decode.
        """
        return _Decoded(
            DataLoader(
                _CropDataset(self, augmentation),
                batch_sampler=_Keys(sampler),
                num_workers=num_workers,
                collate_fn=_collate,
                persistent_workers=num_workers > 0,
                generator=torch.Generator(),  # so that the global generator is not used
            )
        )

    def clean_batches(
        self, batches: Sequence[Tensor], geometry: Callable[[Tensor], Tensor], num_workers: int
    ) -> Iterable[Tensor]:
        """The images, resized one by one by workers.

        Raises:
            UserError: During iteration, if a file does not decode.
        """
        workers = DataLoader(
            _CleanDataset(self, geometry),
            batch_sampler=[batch.tolist() for batch in batches],
            num_workers=num_workers,
            collate_fn=_collate,
            generator=torch.Generator(),
        )
        return (images for (images,) in _Decoded(workers))

    def fingerprint(self) -> str:
        """A hash of the names of the files and of their folders, and of a white level."""
        names = ["/".join(Path(path).parts[-2:]) for path in self.paths]
        names += [] if self.white is None else [f"white={self.white}"]
        return hashlib.sha256("\n".join(names).encode()).hexdigest()

    def files(self) -> list[str]:
        """The paths."""
        return self.paths

    def places(self) -> NDArray[np.str_]:
        """The paths."""
        return np.array(self.paths)


class _CropDataset(Dataset[Any]):
    """Views of single images: decoded and cropped in a worker."""

    def __init__(self, images: FileImages, augmentation: Augmentation) -> None:
        self.images, self.augmentation = images, augmentation

    def __getitem__(self, key: tuple[int, int]) -> list[Tensor] | UserError:
        epoch, i = key
        try:
            return self.augmentation.crop(self.images.load(i), i, epoch)
        except UserError as error:  # raised in the main process, without the worker's stack trace
            return error


class _CleanDataset(Dataset[Any]):
    """Single images as the backbone's input, before normalisation."""

    def __init__(self, images: FileImages, geometry: Callable[[Tensor], Tensor]) -> None:
        self.images, self.geometry = images, geometry

    def __getitem__(self, i: int) -> list[Tensor] | UserError:
        try:
            return [self.geometry(self.images.load(i))]
        except UserError as error:
            return error


def _collate(items: list[list[Tensor] | UserError]) -> list[Tensor] | UserError:
    views: list[list[Tensor]] = []
    for item in items:
        if isinstance(item, UserError):
            return item
        views.append(item)
    return [torch.stack(view) for view in zip(*views, strict=True)]


class _Keys:
    """A batch sampler whose batches are (epoch, index) pairs of the sampler's pending batches."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.sampler.pending():
            yield [(self.sampler.epoch, i) for i in batch.tolist()]

    def __len__(self) -> int:
        return self.sampler.num_batches


class _Decoded:
    """The workers' results; the error of a file that does not decode is raised here."""

    def __init__(self, workers: DataLoader[Any]) -> None:
        self.workers = workers

    def __iter__(self) -> Iterator[list[Tensor]]:
        for item in self.workers:
            if isinstance(item, UserError):
                raise item
            yield item
