"""Few labels: nested stratified subsets, and logistic regression that sees only their labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_zoo.evaluation.linear import best_of
from ssl_zoo.evaluation.logistic import Solution, falling, path_of, solutions_of
from ssl_zoo.evaluation.newton import minimise
from ssl_zoo.evaluation.softmax import Problem, Rows, prepare, scores
from ssl_zoo.hashing import SUBSET_STREAM, hash_int64
from ssl_zoo.types import UserError


def place_in_class(labels: Tensor, draw: int) -> Tensor:
    """Each row's place, from 0, in a random order of its class that depends only on (draw, row).

    Args:
        labels: (N,) int64, none unlabelled.
        draw: Number of the draw.

    Returns:
        (N,) int64, on the CPU.
    """
    labels = labels.cpu()
    order = hash_int64(torch.arange(len(labels)), SUBSET_STREAM, draw).argsort()
    order = order[labels[order].argsort(stable=True)]  # by class, by hash within a class
    count = labels.bincount()
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order)) - (count.cumsum(0) - count)[labels[order]]
    return place


def fraction_of(labels: Tensor, fraction: float, draw: int) -> Tensor:
    """Rows of a stratified subset: this fraction of each class, rounded, but at least one row.

    Within a draw, smaller subsets are inside larger ones, those by `per_class` too.

    Args:
        labels: (N,) int64, none unlabelled.
        fraction: Above 0, at most 1.
        draw: Number of the draw.

    Returns:
        Sorted int64 indices, on the CPU.

    Raises:
        UserError: If the fraction is out of bounds.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"few labels: fraction {fraction}; give a number above 0, at most 1")
    quota = (fraction * labels.cpu().bincount().double()).round().clamp(min=1)
    return (place_in_class(labels, draw) < quota[labels.cpu()]).nonzero().flatten()


def per_class(labels: Tensor, count: int, draw: int) -> Tensor:
    """Rows of a balanced subset: `count` of each class, or all of a class that has fewer.

    Args:
        labels: (N,) int64, none unlabelled.
        count: At least 1.
        draw: Number of the draw.

    Returns:
        Sorted int64 indices, on the CPU.

    Raises:
        UserError: If the count is below 1.
    """
    if count < 1:
        raise UserError(f"few labels: {count} per class; give at least 1")
    return (place_in_class(labels, draw) < count).nonzero().flatten()


@torch.no_grad()
def fit_nested(
    x: Tensor,
    y: Tensor,
    subsets: Sequence[Tensor],
    num_classes: int,
    strengths: Sequence[float],
    default_strength: float,
    folds: int = 5,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> list[tuple[Solution, float]]:
    """Logistic regression on small subsets, each with its L2 strength chosen by its own folds.

    All are solved together, since small fits spend most of their time between products of
    matrices. If a class has only one row in a subset, nothing of it can be held out, and the
    default strength is used.

    Args:
        x: (n, D) float64, standardised.
        y: (n,) int64, none unlabelled.
        subsets: Each (n,) bool.
        num_classes: C.
        strengths: Strengths to choose from, in any order; see `fit_logistic`.
        default_strength: For subsets in which a class has one row.
        folds: At least 2; at most as many as the largest class has rows are made.
        tolerance: See `fit_logistic`.
        max_iterations: As there, for all fits of one strength together.

    Returns:
        For each subset the fit to all of its rows, and its strength.

    Raises:
        UserError: If there are fewer than 2 folds, or a strength is not above 0.
    """
    strengths = falling(strengths)
    if folds < 2:
        raise UserError(f"few labels: {folds} folds; give at least 2")
    rows, limits = prepare(x, y), (tolerance, max_iterations)
    parts = [_folds(y, subset, folds) for subset in subsets]
    held = torch.cat(parts)
    keep = torch.cat([s & ~part for s, part in zip(subsets, parts, strict=True)])
    chosen = [default_strength] * len(subsets)
    if len(held):
        path = path_of(rows, keep, num_classes, strengths, *limits)
        judged = torch.stack([_judged(rows, point.place, y, held) for point in path])
        for i, of_subset in enumerate(judged.split([len(part) for part in parts], dim=2)):
            if of_subset.shape[2]:
                chosen[i] = strengths[best_of(*of_subset.sum(2).T)]
    problem = Problem(rows, torch.stack(list(subsets)), torch.tensor(chosen).double())
    start = x.new_zeros(len(subsets), num_classes, rows.exact.shape[2])
    return list(zip(solutions_of(rows, minimise(problem, start, *limits)), chosen, strict=True))


def _folds(y: Tensor, subset: Tensor, folds: int) -> Tensor:
    """The rows that are held out in turn, (F, n) bool; F is 0 if a class has one row only."""
    count = y[subset].bincount()
    fold = torch.full_like(y, -1)
    fold[subset] = (place_in_class(y[subset], 0) % folds).to(y.device)
    made = int(fold.max()) + 1 if int(count[count > 0].min()) > 1 else 0
    return fold == torch.arange(made, device=y.device)[:, None]


def _judged(rows: Rows, place: Tensor, y: Tensor, held: Tensor) -> Tensor:
    """Summed cross-entropy and number of right answers on the rows held out: (2, B)."""
    logits = scores(rows, place)
    loss = -logits.log_softmax(2).gather(2, y[None, :, None].expand(len(held), -1, 1))[..., 0]
    right = logits.argmax(2) == y
    return torch.stack([(loss * held).sum(1), (right & held).sum(1).double()]).cpu()
