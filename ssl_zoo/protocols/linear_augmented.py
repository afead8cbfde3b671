"""A grid of linear heads on features of augmented images: the backbone runs at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssl_zoo.data import DataModule
from ssl_zoo.evaluation import LinearHeads
from ssl_zoo.evaluation.features import encode
from ssl_zoo.evaluation.linear import OPTIMIZERS, cosine, statistics
from ssl_zoo.evaluation.rows import finite_rows
from ssl_zoo.protocols.base import Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import COLUMNS, shared_features
from ssl_zoo.protocols.labelled_views import crop_and_flip, epochs_of, labelled_loader
from ssl_zoo.protocols.linear import grid_row
from ssl_zoo.ramps import steps_down
from ssl_zoo.types import BadValue

_SCHEDULES = ("cosine", "cosine_by_epoch")


class LinearAugmented(Protocol):
    """All heads of the grid are trained in one pass over random resized crops and flips.

    The backbone is frozen, in eval mode. One head is chosen on clean val images, and that one is
    scored on clean test images once.

    Args:
        learning_rates: Tried with every weight decay.
        weight_decays: L2 factors, on weights and biases.
        epochs: Passes over the labelled training images.
        batch_size: Images per step; what does not fill a batch is left out of the epoch.
        optimizer: sgd or lars; see `LinearHeads`.
        schedule: cosine = by step, cosine_by_epoch, or a list of epochs at which the rate falls to
            a tenth.
        standardize: Whether features are standardised by the statistics of train's clean ones.
        head_std: Standard deviation of the heads' initial weights, the same for all heads.
        crop_scale: Smallest and largest fraction of the image that a crop takes.

    Raises:
        BadValue: If an argument is out of range; in `check`, if a batch is larger than train.

    Source: Oquab et al. 2023 (DINOv2), many heads in one pass; He et al. 2020 (MoCo), sec. 4.1;
    Chen & He 2021 (SimSiam), official code.
    """

    headline, columns = COLUMNS[0], COLUMNS

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
        if epochs < 1:
            raise BadValue("epochs", epochs, "at least 1")
        if batch_size < 2:
            raise BadValue("batch_size", batch_size, "at least 2")
        is_name = isinstance(schedule, str) or not isinstance(schedule, Sequence)
        if is_name and schedule not in _SCHEDULES:
            names = ", ".join(_SCHEDULES)
            raise BadValue("schedule", schedule, f"{names}, or a list of epochs such as [60,80]")
        if optimizer not in OPTIMIZERS:
            raise BadValue("optimizer", optimizer, " or ".join(OPTIMIZERS))
        self.learning_rates = listed(learning_rates, "learning_rates")
        self.weight_decays = listed(weight_decays, "weight_decays")
        self.epochs, self.batch_size, self.optimizer = epochs, batch_size, optimizer
        self.schedule = schedule if isinstance(schedule, str) else list(schedule)
        self.standardize, self.head_std = standardize, head_std
        self.crop_scale = crop_scale

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, len(self.learning_rates) * len(self.weight_decays))
        labelled = int((data.train.labels >= 0).sum())
        if self.batch_size > labelled:
            most = f"at most {labelled}, the number of labelled training images"
            raise BadValue("batch_size", self.batch_size, most)

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_top1` and `test_top1` of the chosen head, its settings, and each class's top-1."""
        train, val, _ = shared_features(candidate)
        views = crop_and_flip(candidate, self.crop_scale)
        rows = torch.arange(len(train.label))
        loader = labelled_loader(candidate, rows, self.batch_size, views)
        features, _ = finite_rows(*train, candidate.data.num_train_classes, "train")
        heads = self._heads(candidate, features)
        step, steps = 0, self.epochs * len(loader)
        with candidate.bar("linear heads, augmented") as progress:
            for batch in epochs_of(loader, views, self.epochs, candidate.device):
                features, label = encode(
                    candidate.backbone,
                    [batch],
                    _as_it_is,
                    candidate.device,
                    candidate.autocast,
                )
                heads.step(features, label, self._factor(step, len(loader)))
                step += 1
                progress(step, steps)
        return grid_row(heads.best(*val), candidate, self.learning_rates, self.weight_decays)

    def _heads(self, candidate: Candidate, features: Tensor) -> LinearHeads:
        num_classes, dim = candidate.data.num_train_classes, features.shape[1]
        generator = torch.Generator().manual_seed(candidate.seed)
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
        """The schedule's factor on the learning rates."""
        epoch = step // steps_per_epoch
        if isinstance(self.schedule, list):
            return steps_down(epoch, self.schedule)
        if self.schedule == "cosine_by_epoch":
            return cosine(epoch, self.epochs)
        return cosine(step, self.epochs * steps_per_epoch)


def _as_it_is(images: Tensor) -> Tensor:
    return images
