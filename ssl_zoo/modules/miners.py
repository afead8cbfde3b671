"""Miners that take all tuples of a batch, or only the few of the flawed baselines.

They return what pytorch-metric-learning's miners return, indices into the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Triplets = tuple[Tensor, Tensor, Tensor]
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]


class AllTuples(nn.Module):
    """No miner: the loss takes all pairs or triplets."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> None:
        """Nothing."""


def _by_class(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Rows class by class, in order of first appearance; and each row's place within its class."""
    first = (labels[:, None] == labels).int().argmax(dim=1)  # row of the class's first image
    order = first.argsort(stable=True)
    grouped = first[order].contiguous()
    place = torch.arange(len(labels), device=labels.device) - torch.searchsorted(grouped, grouped)
    return order, place


def positive_pairs(labels: Tensor) -> Tensor:
    """Indices (P, 2) of disjoint pairs of one class, class by class."""
    order, place = _by_class(labels)
    second = (place % 2 == 1).nonzero().flatten()
    return torch.stack([order[second - 1], order[second]], dim=1)


def left_over(labels: Tensor, pairs: Tensor) -> Tensor:
    """Indices of the images that are in none of the pairs, class by class."""
    free = torch.ones_like(labels, dtype=torch.bool)
    free[pairs.flatten()] = False
    order, _ = _by_class(labels)
    return order[free[order]]


class DisjointPairs(nn.Module):
    """N / 2 disjoint pairs of a batch of N.

    Half of the images are in positive pairs; the others are paired across classes.

    Source: Song et al. 2016 (lifted structure), the contrastive baseline that Musgrave et al. 2020,
    sec. 2.1, find weak because of it.
    """

    def forward(self, embeddings: Tensor, labels: Tensor) -> Pairs:
        """Pairs (a1, p, a2, n) of (N, D) embeddings with labels (N,)."""
        positives = positive_pairs(labels)[::2]
        rest = left_over(labels, positives)
        half = len(rest) // 2
        pairs = torch.cat([positives, torch.stack([rest[:half], rest[half : 2 * half]], dim=1)])
        same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
        positive, negative = pairs[same], pairs[~same]
        return positive[:, 0], positive[:, 1], negative[:, 0], negative[:, 1]


class DisjointTriplets(nn.Module):
    """N / 3 disjoint triplets of a batch of N.

    The first classes of the batch give anchors and positives, the others the negatives. A batch
    with fewer pairs of one class than that gives fewer triplets.

    Source: Song et al. 2016 (lifted structure), the triplet baseline that Musgrave et al. 2020,
    sec. 2.1, find weak because of it.
    """

    def forward(self, embeddings: Tensor, labels: Tensor) -> Triplets:
        """Triplets (anchor, positive, negative) of (N, D) embeddings with labels (N,)."""
        pairs = positive_pairs(labels)[: len(labels) // 3]
        rest = left_over(labels, pairs)
        count = min(len(pairs), len(rest))
        pairs, negative = pairs[:count], rest[:count]
        valid = labels[pairs[:, 0]] != labels[negative]
        return pairs[valid, 0], pairs[valid, 1], negative[valid]
