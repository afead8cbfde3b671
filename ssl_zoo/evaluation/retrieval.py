"""Retrieval: are the nearest images of the same class? No classifier is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.evaluation.rows import known_rows
from ssl_zoo.evaluation.search import DIVERGED, Bank
from ssl_zoo.types import UserError


class QueryScores(NamedTuple):
    """Results of each query; Q queries that have something to find.

    Attributes:
        label: (Q,) int64.
        num_relevant: (Q,) int64, R: gallery images of the query's class, itself not counted.
        first_hit: (Q,) int64, rank from 1 of the nearest relevant image; the gallery's size + 1
            if it is not among the largest k of recall_at.
        r_precision: (Q,) float64.
        map_at_r: (Q,) float64.
    """

    label: Tensor
    num_relevant: Tensor
    first_hit: Tensor
    r_precision: Tensor
    map_at_r: Tensor


class RetrievalMetrics(NamedTuple):
    """Means over queries, in [0, 1].

    Attributes:
        precision_at_1: The nearest image has the query's label.
        r_precision: r / R, r of the R nearest images have the query's label.
        map_at_r: Mean average precision at R: (1 / R) sum over i <= R of precision at i where the
            i-th nearest has the query's label, of 0 where it has not.
        recall_at: By k, the fraction of queries with one or more of their label among the k nearest
            (metric learning's recall; not the fraction of relevant images found).
        macro_map_at_r: Mean over classes of the mean over their queries.
        chance_precision_at_1: For a random order: the mean over queries of R / (size of gallery).
        num_queries: Q.
        num_lone: Queries left out of the means, as the gallery has no other image of their class.
        num_classes: Classes of the Q queries.
        per_query: The values that the means are over.
    """

    precision_at_1: float
    r_precision: float
    map_at_r: float
    recall_at: dict[int, float]
    macro_map_at_r: float
    chance_precision_at_1: float
    num_queries: int
    num_lone: int
    num_classes: int
    per_query: QueryScores


@torch.no_grad()
def retrieval_metrics(
    embeddings: Tensor,
    labels: Tensor,
    gallery: Tensor | None = None,
    gallery_labels: Tensor | None = None,
    ks: Sequence[int] = (1, 5, 10),
    progress: Callable[[int, int], None] | None = None,
) -> RetrievalMetrics:
    """Each image searches for its class among all others, or in a gallery, by cosine similarity.

    Ties go to the first images. An image never finds itself, but does find its
    duplicates. Rows labelled -1 are left out. Rows that are not finite find nothing and are not
    found.

    Args:
        embeddings: (N, D), any float type; L2-normalised here, in float32 or wider.
        labels: (N,) int64, -1 = unlabelled.
        gallery: (M, D), where queries search; None = among themselves.
        gallery_labels: (M,) int64.
        ks: For recall_at.
        progress: Called as `progress(queries done, queries)`.

    Raises:
        UserError: Lengths or widths differ, a k is below 1, or no query has anything to find.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.1; recall at k:
    Oh Song et al. 2016.
    """
    if not ks or min(ks) < 1:
        raise UserError(f"retrieval: ks is {list(ks)}; give one or more numbers >= 1")
    queries, labels = _labelled(embeddings, labels, "queries")
    items, item_labels = _gallery(gallery, gallery_labels, queries, labels)
    alone = gallery is None
    num_relevant = _counts(labels, item_labels) - int(alone)
    rows = (num_relevant > 0).nonzero().flatten()
    if not len(rows):
        raise UserError(
            f"retrieval: none of the {len(labels)} labelled images has another of its class to "
            "find; use classes with two or more images"
        )
    num_items = len(items) - int(alone)
    # By increasing R, so that a chunk searches no deeper than its own largest class.
    rows = rows[num_relevant[rows].argsort(stable=True)]
    chunks, done = [], 0
    bank = Bank(items, max(int(num_relevant[rows].median()), *ks))
    for chunk in rows.split(bank.at_once):
        relevant = num_relevant[chunk]
        depth = min(num_items, max(int(relevant[-1]), *ks))
        value, index = bank.nearest(queries[chunk], depth, chunk if alone else None)
        hit = (item_labels[index] == labels[chunk, None]) & (value > DIVERGED)
        chunks.append((_first(hit[:, : max(ks)], num_items + 1), *_score(hit, relevant)))
        done += len(chunk)
        if progress is not None:
            progress(done, len(rows))
    order = rows.argsort()  # in the order of the queries
    scores = [torch.cat(column)[order] for column in zip(*chunks, strict=True)]
    rows = rows[order]
    per_query = QueryScores(labels[rows], num_relevant[rows], *scores)
    return _means(per_query, ks, num_items, num_lone=len(labels) - len(rows))


def _gallery(
    gallery: Tensor | None, gallery_labels: Tensor | None, queries: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the queries search: the gallery's labelled rows, or the queries themselves."""
    if (gallery is None) != (gallery_labels is None):
        raise UserError("retrieval: give gallery and gallery_labels, or neither")
    if gallery is None or gallery_labels is None:
        return queries, labels
    items, item_labels = _labelled(gallery, gallery_labels, "gallery")
    if queries.shape[1] != items.shape[1]:
        raise UserError(
            f"retrieval: queries of {queries.shape[1]} dimensions, a gallery of "
            f"{items.shape[1]}; embed both with one backbone"
        )
    return items, item_labels


@torch.no_grad()
def nearest(embeddings: Tensor, k: int, rows: Tensor | None = None) -> Tensor:
    """The k nearest others of each image by cosine similarity, nearest first, ties by index.

    Args:
        embeddings: (N, D), any float type.
        k: At most N - 1 are given.
        rows: (n,) int64, the queries; None = all.

    Returns:
        (n, min(k, N - 1)) int64 indices.

    Raises:
        UserError: k or N - 1 is below 1.
    """
    if k < 1 or len(embeddings) < 2:
        raise UserError(
            f"retrieval: k={k} nearest of {len(embeddings)} images; "
            "give k >= 1 and 2 or more images"
        )
    device = embeddings.device
    rows = torch.arange(len(embeddings), device=device) if rows is None else rows.to(device)
    k = min(k, len(embeddings) - 1)
    bank = Bank(embeddings, k)
    chunks = rows.split(bank.at_once)
    return torch.cat([bank.nearest(embeddings[chunk], k, chunk)[1] for chunk in chunks])


def class_bootstrap(
    values: Tensor, labels: Tensor, num_resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95% percentile interval of the mean over queries, resampling whole classes.

    Queries of a class share their images' traits, so they are not independent: an interval
    that resamples queries is too narrow.

    Args:
        values: (Q,), a score of each query.
        labels: (Q,) int64, their classes.
        num_resamples: Draws of as many classes as there are, with replacement.
        seed: For those draws.

    Returns:
        Low and high end.

    Raises:
        UserError: No value is given, or no resample is asked for.

    Source: Efron & Tibshirani 1993, sec. 13.3 (percentile interval), over clusters.
    """
    if num_resamples < 1 or not len(values):
        raise UserError(
            f"class bootstrap: num_resamples={num_resamples} of {len(values)} values; "
            "each must be at least 1"
        )
    classes, index = labels.cpu().unique(return_inverse=True)
    total = torch.zeros(len(classes), dtype=torch.float64)
    total = total.index_add(0, index, values.cpu().double())
    count = index.bincount().double()
    generator = torch.Generator().manual_seed(seed)  # its own: the global one is not used
    means = []
    for _ in range(num_resamples):
        drawn = torch.randint(len(classes), (len(classes),), generator=generator)
        means.append(total[drawn].sum() / count[drawn].sum())
    low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high


def _labelled(embeddings: Tensor, labels: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Rows whose label is not -1, and their labels on the same device."""
    return known_rows(embeddings, labels, f"retrieval, {name}")


def _counts(labels: Tensor, item_labels: Tensor) -> Tensor:
    """How many items have each of the labels: (N,), (M,) -> (N,)."""
    classes, counts = item_labels.unique(return_counts=True)
    if not len(classes):
        return torch.zeros_like(labels)
    place = torch.searchsorted(classes, labels).clamp_max(len(classes) - 1)
    return torch.where(classes[place] == labels, counts[place], 0)


def _first(hit: Tensor, far: int) -> Tensor:
    """Rank of the first hit, `far` if there is none: (n, k) -> (n,)."""
    rank = torch.arange(1, hit.shape[1] + 1, device=hit.device)
    return torch.where(hit, rank, far).amin(1)


def _score(hit: Tensor, num_relevant: Tensor) -> tuple[Tensor, Tensor]:
    """R-precision and MAP@R of hits (n, k), nearest first: two (n,)."""
    rank = torch.arange(1, hit.shape[1] + 1, device=hit.device)
    hit = hit & (rank <= num_relevant[:, None])
    precision = hit.cumsum(1, dtype=torch.int32) / rank.double()
    return hit.sum(1) / num_relevant.double(), (precision * hit).sum(1) / num_relevant


def _means(
    queries: QueryScores, ks: Sequence[int], num_items: int, num_lone: int
) -> RetrievalMetrics:
    classes, index = queries.label.unique(return_inverse=True)
    sums = torch.zeros(len(classes), dtype=torch.float64, device=index.device)
    per_class = sums.index_add(0, index, queries.map_at_r) / index.bincount()
    recall_at = {k: float((queries.first_hit <= k).double().mean()) for k in ks}
    return RetrievalMetrics(
        precision_at_1=float((queries.first_hit == 1).double().mean()),
        r_precision=float(queries.r_precision.mean()),
        map_at_r=float(queries.map_at_r.mean()),
        recall_at=recall_at,
        macro_map_at_r=float(per_class.mean()),
        chance_precision_at_1=float(queries.num_relevant.double().mean()) / num_items,
        num_queries=len(queries.label),
        num_lone=num_lone,
        num_classes=len(classes),
        per_query=queries,
    )
