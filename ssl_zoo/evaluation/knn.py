"""Weighted k-nearest-neighbour classification of frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_zoo.types import UserError

_CHUNK_FLOATS = 2**24  # one block of similarities is at most 64 MB


def labelled_rows(
    features: Tensor, labels: Tensor, num_classes: int, name: str
) -> tuple[Tensor, Tensor]:
    """The rows whose label is not -1 (unlabelled).

    Args:
        features: (N, D).
        labels: (N,) int64, -1 = unlabelled.
        num_classes: Every label must lie below it.
        name: What the rows are called in an error.

    Returns:
        Features (M, D) and labels (M,).

    Raises:
        UserError: Lengths differ, no row is labelled, or a label is `num_classes` or more.
    """
    if len(features) != len(labels):
        raise UserError(
            f"{name}: {len(features)} feature rows but {len(labels)} labels; give one label a row"
        )
    known = labels >= 0
    if not known.any():
        raise UserError(
            f"{name}: none of the {len(labels)} rows has a label (-1 = none); use labelled data"
        )
    largest = int(labels.max())
    if largest >= num_classes:
        raise UserError(
            f"{name}: label {largest} needs num_classes >= {largest + 1}, but num_classes is "
            f"{num_classes}; raise it"
        )
    if known.all():
        return features, labels  # spares a copy
    return features[known], labels[known]


def _normalized(features: Tensor) -> Tensor:
    return normalize(features.float(), dim=1)


def _first_of_equals(similarity: Tensor, kth: Tensor, k: int) -> Tensor:
    """Indices of all entries above `kth` (n, 1) and of the first that equal it: (n, k)."""
    above, tied = similarity > kth, similarity == kth
    vacant = k - above.sum(1, keepdim=True)
    keep = above | (tied & (tied.cumsum(1, dtype=torch.int32) <= vacant))
    return keep.nonzero()[:, 1].view(-1, k)


def top_k(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, falling, equal ones by rising index (`topk` promises no order)."""
    value, index = similarity.topk(k)
    kth = value[:, -1:]
    crowded = (similarity >= kth).sum(1) > k  # more equals than places: topk chose any of them
    if crowded.any():
        index[crowded] = _first_of_equals(similarity[crowded], kth[crowded], k)
    index = index.sort(dim=1).values
    value, order = similarity.gather(1, index).sort(dim=1, descending=True, stable=True)
    return value, index.gather(1, order)


def _neighbors(
    queries: Tensor, bank: Tensor, bank_labels: Tensor, k: int, temperature: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and labels of the k nearest bank rows, nearest first: two (n, k) for each chunk."""
    if k < 1:
        raise UserError(f"kNN: k is {k}; give k >= 1")
    if temperature <= 0:
        raise UserError(f"kNN: temperature is {temperature}; give a number above 0")
    bank = _normalized(bank)
    for chunk in torch.split(queries, max(1, _CHUNK_FLOATS // len(bank))):
        # A NaN feature (a diverged run) is farther from everything than any cosine.
        similarity = (_normalized(chunk) @ bank.T).nan_to_num(nan=-2.0)
        value, index = top_k(similarity, min(k, len(bank)))
        # The common factor exp(-max / T) changes no ranking and keeps small temperatures finite.
        yield ((value - value[:, :1]) / temperature).exp(), bank_labels[index]


def _scores(weights: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Sum of the weights of each class: (n, k), (n, k) -> (n, num_classes)."""
    return weights.new_zeros(len(weights), num_classes).scatter_add_(1, labels, weights)


@torch.no_grad()
def knn_predict(
    queries: Tensor,
    bank: Tensor,
    bank_labels: Tensor,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Class scores by weighted kNN: the k most similar bank rows vote with exp(cosine / T).

    Features are L2-normalised here, in float32. Of equally similar rows the first come first.

    Args:
        queries: (N, D), any float type.
        bank: (M, D), on the same device.
        bank_labels: (M,) int64; rows labelled -1 are left out.
        num_classes: Number of columns of the scores.
        k: Neighbours that vote; at most the bank's size is used.
        temperature: T.

    Returns:
        (N, num_classes) float32 scores; the nearest neighbour has weight 1.

    Raises:
        UserError: No bank row is labelled, a label is `num_classes` or more, or k or T is not
            positive.

    Source: Wu et al. 2018 (InstDisc), sec. 3.4; k = 20 from Caron et al. 2021 (DINO).
    """
    bank, bank_labels = labelled_rows(bank, bank_labels, num_classes, "kNN bank")
    votes = _neighbors(queries, bank, bank_labels, k, temperature)
    return torch.cat([_scores(weights, labels, num_classes) for weights, labels in votes])


@torch.no_grad()
def knn_top1(
    queries: Tensor,
    query_labels: Tensor,
    bank: Tensor,
    bank_labels: Tensor,
    num_classes: int,
    ks: Sequence[int] = (20,),
    temperature: float = 0.07,
) -> dict[int, float]:
    """Share of labelled queries that weighted kNN classifies correctly, for several k at once.

    Args:
        queries: (N, D), any float type.
        query_labels: (N,) int64; rows labelled -1 are left out.
        bank: (M, D), on the same device.
        bank_labels: (M,) int64; rows labelled -1 are left out.
        num_classes: Number of classes.
        ks: Numbers of neighbours, each cut to the bank's size; one search serves all.
        temperature: T.

    Returns:
        Top-1 accuracy in [0, 1] by k.

    Raises:
        UserError: As `knn_predict`, for the queries too, or `ks` is empty.

    Source: as `knn_predict`.
    """
    if not ks or min(ks) < 1:
        raise UserError(f"kNN: ks is {list(ks)}; give one or more numbers >= 1")
    queries, query_labels = labelled_rows(queries, query_labels, num_classes, "kNN queries")
    bank, bank_labels = labelled_rows(bank, bank_labels, num_classes, "kNN bank")
    correct = dict.fromkeys(ks, 0)
    start = 0
    for weights, labels in _neighbors(queries, bank, bank_labels, max(ks), temperature):
        truth = query_labels[start : start + len(weights)]
        start += len(weights)
        for k in ks:
            scores = _scores(weights[:, :k], labels[:, :k], num_classes)
            correct[k] += int((scores.argmax(1) == truth).sum())
    return {k: count / len(queries) for k, count in correct.items()}
