"""Rows of features: labelled, finite, of unit length, and the nearest of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ssl_zoo.types import UserError


def known_rows(features: Tensor, labels: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The rows whose label is not -1 (unlabelled), and their labels on the same device.

    Args:
        features: (N, D).
        labels: (N,) int64.
        name: What the rows are called in an error.

    Raises:
        UserError: If the lengths differ.
    """
    if len(features) != len(labels):
        raise UserError(
            f"{name}: {len(features)} feature rows but {len(labels)} labels; give one label per row"
        )
    labels = labels.to(features.device)
    known = labels >= 0
    return (features, labels) if known.all() else (features[known], labels[known])  # avoids a copy


def labelled_rows(
    features: Tensor, labels: Tensor, num_classes: int, name: str
) -> tuple[Tensor, Tensor]:
    """The labelled rows of a split, at least one.

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
    x, y = known_rows(features, labels, name)
    if not len(y):
        raise UserError(
            f"{name}: none of the {len(labels)} rows has a label (-1 = none); use labelled data"
        )
    largest = int(y.max())
    if largest >= num_classes:
        raise UserError(
            f"{name}: label {largest} needs num_classes >= {largest + 1}, but num_classes is "
            f"{num_classes}; raise it"
        )
    return x, y


def _first_of_equals(similarity: Tensor, kth: Tensor, k: int) -> Tensor:
    """Indices of all entries above `kth` (n, 1) and of the first that equal it: (n, k)."""
    above, tied = similarity > kth, similarity == kth
    vacant = k - above.sum(1, keepdim=True)
    keep = above | (tied & (tied.cumsum(1, dtype=torch.int32) <= vacant))
    return keep.nonzero()[:, 1].view(-1, k)


def top_k(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, descending, ties by index (`topk` promises no order)."""
    value, index = similarity.topk(min(k + 1, similarity.shape[1]))
    tied = (value[:, 1:] == value[:, :-1]).any(1)  # those at the last place too
    value, index = value[:, :k], index[:, :k]
    if tied.any():
        value[tied], index[tied] = _ties_by_index(similarity[tied], value[tied], index[tied])
    return value, index


def _ties_by_index(similarity: Tensor, value: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    k, kth = value.shape[1], value[:, -1:]
    crowded = (similarity >= kth).sum(1) > k  # more ties than places: topk chose any of them
    if crowded.any():
        index[crowded] = _first_of_equals(similarity[crowded], kth[crowded], k)
    index = index.sort(dim=1).values
    value, order = similarity.gather(1, index).sort(dim=1, descending=True, stable=True)
    return value, index.gather(1, order)


def finite_rows(
    features: Tensor, labels: Tensor, num_classes: int, name: str
) -> tuple[Tensor, Tensor]:
    """The same, checked to be finite."""
    x, y = labelled_rows(features, labels, num_classes, name)
    check_finite(x, name)
    return x, y


def choosing_rows(
    features: Tensor, labels: Tensor, num_classes: int, name: str, settings: int
) -> tuple[Tensor, Tensor]:
    """The same, to choose among a number of settings on; a single one needs no row."""
    if settings == 1 and not len(labels):
        return features, labels.to(features.device)
    return finite_rows(features, labels, num_classes, name)


def check_finite(features: Tensor, name: str) -> None:
    """Refuse features that are not finite.

    Raises:
        UserError: Naming them by `name`.
    """
    if not features.isfinite().all():
        raise UserError(f"{name}: features hold NaN or infinity; check that pretraining went well")


def unit_rows(features: Tensor) -> Tensor:
    """Rows of length 1, in float32 or wider."""
    return normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=1)
