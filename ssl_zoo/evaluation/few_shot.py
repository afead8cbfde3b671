"""Few labels: nested stratified subsets, and logistic regression that sees only their labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_zoo.evaluation.linear import best_of
from ssl_zoo.evaluation.logistic import Solution, falling, judge, solve, solve_folds
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
def fit_few(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    strengths: Sequence[float],
    default_strength: float,
    folds: int = 5,
    tolerance: float = 1e-6,
    max_iterations: int = 1000,
) -> tuple[Solution, float]:
    """Logistic regression on a small set, its L2 strength chosen by stratified folds of the set.

    If a class has only one row, nothing can be held out, and the default is used.

    Args:
        x: (n, D) float64, standardised.
        y: (n,) int64, none unlabelled.
        num_classes: C.
        strengths: Strengths to choose from, in any order; see `fit_logistic`.
        default_strength: For sets in which a class has one row.
        folds: At least 2; at most as many as the largest class has rows are made.
        tolerance: See `fit_logistic`.
        max_iterations: See `fit_logistic`.

    Returns:
        The fit to all n rows, and its strength.

    Raises:
        UserError: If there are fewer than 2 folds, or a strength is not above 0.
    """
    strengths = falling(strengths)
    if folds < 2:
        raise UserError(f"few labels: {folds} folds; give at least 2")
    count = y.bincount()
    strength = default_strength
    if int(count[count > 0].min()) > 1:
        fold = (place_in_class(y, 0) % folds).to(y.device)
        loss, correct = torch.zeros(2, len(strengths)).double()
        limits = (tolerance, max_iterations)
        for i, of_folds in enumerate(solve_folds(x, y, fold, num_classes, strengths, *limits)):
            for held_out, solution in enumerate(of_folds):
                fold_loss, fold_correct = judge(solution, x[fold == held_out], y[fold == held_out])
                loss[i] += fold_loss
                correct[i] += fold_correct
        strength = strengths[best_of(loss, correct)]
    return solve(x, y, num_classes, strength, None, tolerance, max_iterations), strength
