"""Shared by the losses: their four kinds, and the mean over the pairs that are kept."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ssl_zoo.distributed import all_gather, global_mean
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.types import UserError


class ContrastiveLoss(nn.Module):
    """`loss(pos (N,), neg (N, K)) -> scalar`, over similarities.

    Attributes:
        needs_cosines: Whether similarities other than cosines make no sense.
    """

    needs_cosines = False


def contrastive_top1(pos: Tensor, neg: Tensor) -> Tensor:
    """How often the positive is nearer than every negative: (N,), (N, K) -> scalar, no gradient."""
    return (pos > neg.max(dim=1).values).float().mean().detach()


class PredictiveLoss(nn.Module):
    """`loss(prediction (N, D), target (N, D)) -> scalar`."""


class StatisticLoss(nn.Module, ABC):
    """`loss(z (V, N, D)) -> scalar`, over a statistic of V views of a batch.

    A subclass defines `statistic` over the images of all ranks, in float32 or better. Every rank
    computes the same value; under DDP's averaging its gradient is that of the global batch.

    Attributes:
        takes_small: Whether it knows multi-crop's small views, in `statistic_with_small`.
    """

    takes_small = False

    def forward(self, z: Tensor, num_large: int | None = None) -> Tensor:
        """The statistic of the global batch.

        Args:
            z: (V, N, D), this rank's embeddings of each view, with gradient.
            num_large: The first views, where those after them are small; None = none is.

        Raises:
            UserError: If there are small views, which the loss does not know.
        """
        with torch.autocast(z.device.type, enabled=False):
            images = all_gather(at_least_float32(z).transpose(0, 1).contiguous()).transpose(0, 1)
            if num_large is None or num_large == len(z):
                return self.statistic(images)
            return self.statistic_with_small(images, num_large)

    @abstractmethod
    def statistic(self, z: Tensor) -> Tensor:
        """The loss of (V, N, D), N images of all ranks in rank order."""

    def statistic_with_small(self, z: Tensor, num_large: int) -> Tensor:
        """The same, where the views after the first `num_large` are small."""
        if self.takes_small:
            name = type(self).__name__
            raise UserError(f"{name} sets takes_small, but defines no statistic_with_small(z, n)")
        raise UserError(f"{type(self).__name__} takes views of one size, not multi-crop's")


class LabelledLoss(nn.Module, ABC):
    """`loss(z (V, N, D), label (N,)) -> scalar`, over V views of labelled images.

    A subclass defines `of_batch` over the images of all ranks, in float32 or better. Every rank
    computes the same value; under DDP's averaging its gradient is that of the global batch.
    """

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """The loss of the global batch.

        Args:
            z: (V, N, D), this rank's embeddings of each view, with gradient.
            label: (N,) their classes, -1 = unlabelled.

        Raises:
            UserError: If there is not one label for each image.
        """
        if label.shape != z.shape[1:2]:
            shapes = f"{tuple(label.shape)} for views of {tuple(z.shape)}"
            raise UserError(f"labels have shape {shapes}: give (N,), one for each image")
        with torch.autocast(z.device.type, enabled=False):
            images = all_gather(at_least_float32(z).transpose(0, 1).contiguous())
            return self.of_batch(images.transpose(0, 1), all_gather(label))

    @abstractmethod
    def of_batch(self, z: Tensor, label: Tensor) -> Tensor:
        """The loss of (V, N, D) and (N,), N images of all ranks in rank order."""


def is_pair(neg: Tensor) -> Tensor:
    """Where `neg` holds a negative; NaN counts as one, so that the loss becomes NaN too."""
    return neg != -float("inf")


def is_semi_hard(pos: Tensor, neg: Tensor, margin: float) -> Tensor:
    """Negatives less similar than the positive, but within the margin: s+ - m < s- < s+.

    Args:
        pos: (N,).
        neg: (N, K).
        margin: m; infinity leaves only s- < s+.

    Returns:
        (N, K) bool.

    Source: Schroff et al. 2015 (FaceNet), sec. 3.2, in similarities.
    """
    s_pos = pos[:, None]
    # what is not excluded, rather than what is included: NaN must not vanish from the loss
    return ~(neg >= s_pos) & ~(neg <= s_pos - margin) & is_pair(neg)


def mean_over(terms: Tensor, kept: Tensor) -> Tensor:
    """The mean of the kept terms of all ranks; 0 if no rank keeps any."""
    return global_mean(terms.masked_fill(~kept, 0).sum(), kept.sum())


def with_positives(attract: Tensor, repel: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The terms of all pairs, (N, 1 + K), and which of them are kept: every positive is."""
    every = kept.new_ones(len(kept), 1)
    return torch.cat([attract[:, None], repel], dim=1), torch.cat([every, kept], dim=1)
