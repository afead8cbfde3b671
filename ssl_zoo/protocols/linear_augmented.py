"""A grid of linear heads on features of augmented images: the backbone runs at every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_zoo.data import Augmentation
from ssl_zoo.data.loaders import TrainLoader
from ssl_zoo.data.samplers import EpochSampler
from ssl_zoo.evaluation import LinearHeads
from ssl_zoo.evaluation.features import encode
from ssl_zoo.evaluation.linear import OPTIMIZERS, cosine, finite_rows, statistics
from ssl_zoo.hardware import autocast
from ssl_zoo.protocols.candidate import Task
from ssl_zoo.protocols.linear import grid_row, listed
from ssl_zoo.ramps import steps_down
from ssl_zoo.types import UserError

_KNOBS = "protocol.linear_augmented*"  # the presets' too
_SCHEDULES = ("cosine", "cosine_by_epoch")


class LabelledViews(NamedTuple):
    """A batch of augmented images.

    Attributes:
        images: float32 (n, 3, S, S), normalised, on the device.
        label: (n,) int64.
    """

    images: Tensor
    label: Tensor


class LinearAugmented:
    """All heads of the grid are trained in one pass over random resized crops and flips.

    The backbone is frozen, in eval mode. One head is chosen on clean val images, and that one reads
    clean test images once.

    Args:
        learning_rates: Tried with every weight decay.
        weight_decays: L2 factors, on weights and biases.
        epochs: Passes over the labelled training images.
        batch_size: Images a step; what does not fill a batch is left out of the epoch.
        optimizer: sgd or lars; see `LinearHeads`.
        schedule: cosine = by step, cosine_by_epoch, or a list of epochs at which the rate falls to
            a tenth.
        standardize: Whether features are standardised by train's clean ones, or stay as they are.
        head_std: Standard deviation of the heads' first weights; all heads start alike.
        crop_scale: Least and greatest share of the image that a crop takes.

    Raises:
        UserError: If a knob makes no sense or a batch is larger than the training set.

    Source: Oquab et al. 2023 (DINOv2), many heads in one pass; He et al. 2020 (MoCo), sec. 4.1;
    Chen & He 2021 (SimSiam), official code.
    """

    needs = "shared classes"
    headline = "test_top1"
    baselines = ("random init", "raw pixels")

    def __init__(
        self,
        learning_rates: Sequence[float],
        weight_decays: Sequence[float],
        epochs: int,
        batch_size: int,
        optimizer: str,
        schedule: str | Sequence[int],
        standardize: bool,
        head_std: float,
        crop_scale: Sequence[float],
    ) -> None:
        if epochs < 1 or batch_size < 2:
            raise UserError(
                f"{_KNOBS}.epochs={epochs}, batch_size={batch_size}: give at least 1 and 2"
            )
        if schedule not in _SCHEDULES and (
            isinstance(schedule, str) or not isinstance(schedule, Sequence)
        ):
            raise UserError(
                f"{_KNOBS}.schedule={schedule} is unknown: use {', '.join(_SCHEDULES)}, or a list "
                "of epochs such as [60,80]"
            )
        if optimizer not in OPTIMIZERS:
            raise UserError(
                f"{_KNOBS}.optimizer={optimizer} is unknown: use {' or '.join(OPTIMIZERS)}"
            )
        self.learning_rates = listed(learning_rates, "linear_augmented*.learning_rates")
        self.weight_decays = listed(weight_decays, "linear_augmented*.weight_decays")
        self.epochs, self.batch_size, self.optimizer = epochs, batch_size, optimizer
        self.schedule = schedule if isinstance(schedule, str) else list(schedule)
        self.standardize, self.head_std = standardize, head_std
        self.crop_scale = crop_scale

    def score(self, task: Task) -> dict[str, Any]:
        """`val_top1` and `test_top1` of the chosen head, its settings, and each class's top-1."""
        train, val, _ = task.features
        if self.batch_size > len(train.label):
            raise UserError(
                f"{_KNOBS}.batch_size={self.batch_size} is more than the {len(train.label)} "
                "labelled training images: lower it"
            )
        views = crop_and_flip(task, self.crop_scale)
        rows = torch.arange(len(train.label))
        loader = labelled_loader(task, rows, self.batch_size, views)
        heads = self._heads(task, finite_rows(*train, task.data.num_classes, "train")[0])
        step, steps = 0, self.epochs * len(loader)
        with task.bar("linear heads, augmented") as progress:
            for batch in epochs_of(loader, views, self.epochs, task.device):
                features, label = encode(
                    task.backbone, [batch], _as_it_is, task.device, autocast(task.device)
                )
                heads.step(features, label, self._factor(step, len(loader)))
                step += 1
                progress(step, steps)
        return grid_row(heads.best(*val), task, self.learning_rates, self.weight_decays)

    def _heads(self, task: Task, features: Tensor) -> LinearHeads:
        num_classes, dim = task.data.num_classes, features.shape[1]
        generator = torch.Generator().manual_seed(task.seed)
        start = self.head_std * torch.randn(dim, num_classes, generator=generator)
        mean, std = statistics(features)
        if not self.standardize:
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        return LinearHeads(
            self.learning_rates,
            self.weight_decays,
            num_classes,
            (mean, std),
            start.to(features.device),
            self.optimizer,
        )

    def _factor(self, step: int, steps_per_epoch: int) -> float:
        """What the schedule multiplies the learning rates by."""
        epoch = step // steps_per_epoch
        if isinstance(self.schedule, list):
            return steps_down(epoch, self.schedule)
        if self.schedule == "cosine_by_epoch":
            return cosine(epoch, self.epochs)
        return cosine(step, self.epochs * steps_per_epoch)


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


def _as_it_is(images: Tensor) -> Tensor:
    return images
