"""Loaders: batches by one indexing from a tensor, or by worker processes from files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.images import FileImages, TensorImages
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.types import UserError


class RawBatch(NamedTuple):
    """What a loader yields, on the CPU; the data module makes views of it on the device.

    Attributes:
        images: uint8 (N, 3, H, W), or V crops (N, 3, S, S) of it where workers cropped.
        label: (N,) int64, -1 = unlabelled.
        index: (N,) int64, position in the split.
        epoch: Epoch of the draw.
    """

    images: Tensor | list[Tensor]
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    epoch: int


class _CropDataset(Dataset[Any]):
    """Views of single images: decoded and cropped in a worker."""

    def __init__(self, images: FileImages, augmentation: Augmentation) -> None:
        self.images, self.augmentation = images, augmentation

    def __getitem__(self, key: tuple[int, int]) -> list[Tensor] | UserError:
        epoch, i = key
        try:
            return self.augmentation.crop(self.images.load(i), i, epoch)
        except UserError as error:  # raised by the main process, free of the worker's stack trace
            return error


class _CleanDataset(Dataset[Any]):
    """Single images as the backbone sees them, before normalisation."""

    def __init__(self, images: FileImages, preprocess: Preprocess) -> None:
        self.images, self.preprocess = images, preprocess

    def __getitem__(self, i: int) -> list[Tensor] | UserError:
        try:
            return [self.preprocess.geometry(self.images.load(i))]
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


class TrainLoader:
    """Training batches in the sampler's order; its state is (epoch, position).

    Args:
        images: The training split.
        sampler: The order.
        augmentation: Crops files in the workers; tensors are augmented later, on the device.
        num_workers: Processes that decode files; none are used for tensors.
    """

    def __init__(
        self,
        images: TensorImages | FileImages,
        sampler: EpochSampler,
        augmentation: Augmentation,
        num_workers: int = 0,
    ) -> None:
        self.images, self.sampler = images, sampler
        self.workers: DataLoader[Any] | None = None
        if isinstance(images, FileImages):
            self.workers = DataLoader(
                _CropDataset(images, augmentation),
                batch_sampler=_Keys(sampler),
                num_workers=num_workers,
                collate_fn=_collate,
                persistent_workers=num_workers > 0,
                generator=torch.Generator(),  # leaves the global generator alone
            )

    def __len__(self) -> int:
        return self.sampler.num_batches

    def __iter__(self) -> Iterator[RawBatch]:
        epoch, pending = self.sampler.epoch, self.sampler.pending()
        for index, images in zip(pending, self._images(pending), strict=True):
            if isinstance(images, UserError):
                raise images
            self.sampler.position += 1
            yield RawBatch(images, self.images.labels[index], index, epoch)

    def _images(self, pending: list[Tensor]) -> Iterator[Tensor | list[Tensor] | UserError]:
        if isinstance(self.images, TensorImages):
            return (self.images.batch(index) for index in pending)
        assert self.workers is not None
        return iter(self.workers)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.load_state_dict(state)


class CleanLoader:
    """A split in its order, unaugmented: batches of what the backbone sees, before normalisation.

    Args:
        images: The split.
        preprocess: Resizes and crops.
        batch_size: Images a batch.
        num_workers: Processes that decode files.
        index: Which images, in this order; None = all.
    """

    def __init__(
        self,
        images: TensorImages | FileImages,
        preprocess: Preprocess,
        batch_size: int = 512,
        num_workers: int = 0,
        index: Tensor | None = None,
    ) -> None:
        self.images, self.preprocess, self.num_workers = images, preprocess, num_workers
        self.index = torch.arange(len(images)) if index is None else index
        self.batches = list(self.index.split(batch_size)) if len(self.index) else []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[RawBatch]:
        for index, images in zip(self.batches, self._images(), strict=True):
            if isinstance(images, UserError):
                raise images
            yield RawBatch(images, self.images.labels[index], index, 0)

    def _images(self) -> Iterator[Tensor | UserError]:
        if isinstance(self.images, TensorImages):
            return (self.preprocess.geometry(self.images.batch(index)) for index in self.batches)
        workers: DataLoader[Any] = DataLoader(
            _CleanDataset(self.images, self.preprocess),
            batch_sampler=[batch.tolist() for batch in self.batches],
            num_workers=self.num_workers,
            collate_fn=_collate,
            generator=torch.Generator(),
        )
        return (item if isinstance(item, UserError) else item[0] for item in workers)
