"""Weighted k-nearest-neighbour classification of frozen features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ssl_zoo.evaluation.classification import Answers, answers_of
from ssl_zoo.evaluation.rows import labelled_rows
from ssl_zoo.evaluation.search import Bank
from ssl_zoo.types import BadValue, UserError


def _neighbors(
    queries: Tensor, bank: Tensor, bank_labels: Tensor, k: int, temperature: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and labels of the k nearest bank rows, nearest first: two (n, k) for each chunk."""
    if k < 1:
        raise BadValue("k", k, "at least 1")
    if temperature <= 0:
        raise BadValue("temperature", temperature, "above 0")
    k = min(k, len(bank))
    search = Bank(bank.float(), k)
    for chunk in queries.split(search.at_once):
        value, index = search.nearest(chunk.float(), k)
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

    Features are L2-normalised here, in float32. Ties go to the first rows; a feature that is
    not finite (a diverged run) is farther from everything than any cosine.

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
    """Fraction of labelled queries that weighted kNN classifies correctly, for several k at once.

    Args:
        queries: (N, D), any float type.
        query_labels: (N,) int64; rows labelled -1 are left out.
        bank: (M, D), on the same device.
        bank_labels: (M,) int64; rows labelled -1 are left out.
        num_classes: Number of classes.
        ks: Numbers of neighbours, each limited to the bank's size; one search serves all.
        temperature: T.

    Returns:
        Top-1 accuracy in [0, 1] by k.

    Raises:
        UserError: As `knn_predict`, for the queries too, or `ks` is empty.

    Source: as `knn_predict`.
    """
    answers = knn_answers(queries, query_labels, bank, bank_labels, num_classes, ks, temperature)
    return {k: answered.top1 for k, answered in answers.items()}


@torch.no_grad()
def knn_answers(
    queries: Tensor,
    query_labels: Tensor,
    bank: Tensor,
    bank_labels: Tensor,
    num_classes: int,
    ks: Sequence[int] = (20,),
    temperature: float = 0.07,
) -> dict[int, Answers]:
    """What weighted kNN answers to each labelled query, for several k at once.

    A class that no neighbour votes for is not among the five that are answered.

    Args:
        queries: (N, D), any float type.
        query_labels: (N,) int64; rows labelled -1 are left out.
        bank: (M, D), on the same device.
        bank_labels: (M,) int64; rows labelled -1 are left out.
        num_classes: Number of classes.
        ks: Numbers of neighbours, each limited to the bank's size; one search serves all.
        temperature: T.

    Returns:
        The answers by k, of which `top1` is what `knn_top1` returns.

    Raises:
        UserError: As `knn_top1`.

    Source: as `knn_predict`.
    """
    if not ks or min(ks) < 1:
        raise UserError(f"kNN: ks is {list(ks)}; give one or more numbers >= 1")
    queries, query_labels = labelled_rows(queries, query_labels, num_classes, "kNN queries")
    bank, bank_labels = labelled_rows(bank, bank_labels, num_classes, "kNN bank")
    parts: dict[int, list[Answers]] = {k: [] for k in ks}
    start = 0
    for weights, labels in _neighbors(queries, bank, bank_labels, max(ks), temperature):
        truth = query_labels[start : start + len(weights)]
        start += len(weights)
        for k in ks:
            scores = _scores(weights[:, :k], labels[:, :k], num_classes)
            voted = scores.masked_fill(scores == 0, -torch.inf)
            parts[k].append(answers_of(voted, truth))
    return {k: Answers.joined(several) for k, several in parts.items()}
