"""Augmented training images with their labels, for the protocols that run the backbone on crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data import Augmentation
from ssl_zoo.data.loaders import TrainLoader
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.protocols.candidate import Candidate


class LabelledViews(NamedTuple):
    """A batch of augmented images.

    Attributes:
        images: float32 (n, 3, S, S), normalised, on the device.
        label: (n,) int64.
    """

    images: Tensor
    label: Tensor


def crop_and_flip(candidate: Candidate, crop_scale: Sequence[float]) -> Augmentation:
    """One view per image: random resized crop, flipped half the time, normalised for the backbone.

    Args:
        candidate: Its preprocessing gives size, mean and std.
        crop_scale: Smallest and largest fraction of the image that a crop takes.
    """
    return Augmentation(
        size=candidate.preprocess.image_size,
        num_views=1,
        order=("crop", "flip"),
        crop_scale=crop_scale,
        mean=candidate.preprocess.mean.flatten().tolist(),
        std=candidate.preprocess.std.flatten().tolist(),
        seed=candidate.seed,
    )


def labelled_loader(
    candidate: Candidate, rows: Tensor, batch_size: int, views: Augmentation
) -> TrainLoader:
    """Training images in a new order in each epoch, without those that fill no batch.

    Args:
        candidate: Gives the data and the seed.
        rows: Which of the labelled training images.
        batch_size: Images per step, at most as many as there are rows.
        views: Crops image files, in the workers.
    """
    train, num_workers = candidate.data.train, candidate.data.num_workers
    images = train.subset((train.labels >= 0).nonzero().flatten()[rows])
    sampler = EpochSampler(len(images), batch_size, seed=candidate.seed)
    return TrainLoader(images, sampler, views, num_workers)


def epochs_of(
    loader: TrainLoader, views: Augmentation, epochs: int, device: torch.device
) -> Iterator[LabelledViews]:
    """All batches of all epochs; an image's crop differs in each."""
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            (view,) = views(batch.images, batch.index, epoch, device)
            yield LabelledViews(view, batch.label)
