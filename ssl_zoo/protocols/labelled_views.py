"""Augmented training images with their labels, for the protocols that run the backbone on crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data import Augmentation
from ssl_zoo.data.loaders import TrainLoader
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.protocols.candidate import Task


class LabelledViews(NamedTuple):
    """A batch of augmented images.

    Attributes:
        images: float32 (n, 3, S, S), normalised, on the device.
        label: (n,) int64.
    """

    images: Tensor
    label: Tensor


def crop_and_flip(task: Task, crop_scale: Sequence[float]) -> Augmentation:
    """One view an image: a random resized crop, flipped half the time, normalised for the backbone.

    Args:
        task: Its preprocessing says the mean and std, its data the size.
        crop_scale: Least and greatest share of the image that a crop takes.
    """
    return Augmentation(
        size=task.data.preprocess.image_size,
        num_views=1,
        order=("crop", "flip"),
        crop_scale=crop_scale,
        mean=task.preprocess.mean.flatten().tolist(),
        std=task.preprocess.std.flatten().tolist(),
        seed=task.seed,
    )


def labelled_loader(task: Task, rows: Tensor, batch_size: int, views: Augmentation) -> TrainLoader:
    """Training images in an order drawn anew in each epoch, those that fill no batch left out.

    Args:
        task: Whose data and seed.
        rows: Which of the labelled training images.
        batch_size: Images a step, at most as many as there are rows.
        views: What crops image files, in the workers.
    """
    train, num_workers = task.data.train, task.data.num_workers
    images = train.subset((train.labels >= 0).nonzero().flatten()[rows])
    sampler = EpochSampler(len(images), batch_size, seed=task.seed)
    return TrainLoader(images, sampler, views, num_workers)


def epochs_of(
    loader: TrainLoader, views: Augmentation, epochs: int, device: torch.device
) -> Iterator[LabelledViews]:
    """All batches of all epochs; an image's crop is another in each."""
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            (view,) = views(batch.images, batch.index, epoch, device)
            yield LabelledViews(view, batch.label)
