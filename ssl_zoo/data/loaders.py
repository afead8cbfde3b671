"""Loaders: what training and evaluation iterate over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data.augment import Augmentation
from ssl_zoo.data.images import Images
from ssl_zoo.data.preprocess import Preprocess
from ssl_zoo.data.samplers import EpochSampler


class RawBatch(NamedTuple):
    """What a loader yields, on the CPU; the data module makes views of it on the device.

    Attributes:
        images: uint8 (N, 3, H, W), or V crops (N, 3, S, S) of it if workers cropped.
        label: (N,) int64, -1 = unlabelled.
        index: (N,) int64, position in the split.
        epoch: Epoch of the draw.
    """

    images: Tensor | list[Tensor]
    label: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index
    epoch: int


class TrainLoader:
    """Training batches in the sampler's order; its state is (epoch, position).

    Args:
        images: The training split.
        sampler: The order.
        augmentation: Crops if workers read; the rest is done later, on the device.
        num_workers: Processes that read, if the images need any.
    """

    def __init__(
        self,
        images: Images,
        sampler: EpochSampler,
        augmentation: Augmentation,
        num_workers: int = 0,
    ) -> None:
        self.images, self.sampler = images, sampler
        self.batches = images.train_batches(sampler, augmentation, num_workers)

    def __len__(self) -> int:
        return self.sampler.num_batches

    def __iter__(self) -> Iterator[RawBatch]:
        epoch, pending = self.sampler.epoch, self.sampler.pending()
        for index, images in zip(pending, self.batches, strict=True):
            self.sampler.position += 1
            yield RawBatch(images, self.images.labels[index], index, epoch)

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.load_state_dict(state)


class CleanLoader:
    """A split in its order, unaugmented: batches of the backbone's input, before normalisation.

    Args:
        images: The split.
        preprocess: Resizes and crops.
        batch_size: Images per batch.
        num_workers: Processes that read, if the images need any.
        index: Which images, in this order; None = all.
    """

    def __init__(
        self,
        images: Images,
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
        geometry = self.preprocess.geometry
        clean = self.images.clean_batches(self.batches, geometry, self.num_workers)
        for index, images in zip(self.batches, clean, strict=True):
            yield RawBatch(images, self.images.labels[index], index, 0)
