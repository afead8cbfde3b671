"""Multinomial logistic regression to convergence, along a path of L2 strengths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.evaluation.linear import best_of, statistics
from ssl_zoo.evaluation.newton import minimise
from ssl_zoo.evaluation.rows import choosing_rows, finite_rows
from ssl_zoo.evaluation.softmax import Point, Problem, Rows, prepare
from ssl_zoo.types import UserError

# Half decades over the seven in which heads on standardised features differ: stronger strengths
# underfit, weaker ones gain nothing.
STRENGTHS = (
    *(10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01),
    *(3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6),
)


class Solution(NamedTuple):
    """Where the solver stopped.

    Attributes:
        weight: (D, C) float64.
        bias: (C,) float64.
        loss: Mean cross-entropy plus strength / 2 |weight|^2.
        gradient: Largest absolute entry of its gradient.
    """

    weight: Tensor
    bias: Tensor
    loss: float
    gradient: float


@dataclass(frozen=True)
class LogisticFit:
    """Logistic regression with the strength that is best on validation data.

    Attributes:
        weight: (D, C) float64, for standardised features.
        bias: (C,).
        mean: (D,), of the features that it was fitted on.
        std: (D,), of the same; 1 for constant ones.
        strength: The chosen one.
        val_top1: Accuracy in [0, 1] of each strength's fit to train only, strong to weak; empty
            without val.
        gradient: Largest absolute entry of the objective's gradient, over all fits.
        converged: Whether that is within the tolerance.
        on_edge: Whether the chosen strength is the smallest or largest of several.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    strength: float
    val_top1: list[float]
    gradient: float
    converged: bool
    on_edge: bool

    def predict(self, features: Tensor) -> Tensor:
        """Logits (N, C) float64 of features (N, D) of any float type."""
        return (features.double() - self.mean) / self.std @ self.weight + self.bias


@torch.no_grad()
def solve(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    strength: float,
    start: Solution | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 5000,
) -> Solution:
    """Minimise mean cross-entropy + strength / 2 |weight|^2 by Newton's method; biases are free.

    The optimum is scikit-learn's with C = 1 / (strength * N). With two classes each has its own
    column here, so scikit-learn's single one gives the same probabilities at half the strength.

    Args:
        x: (N, D) float64, standardised.
        y: (N,) int64, none unlabelled.
        num_classes: C.
        strength: Above 0.
        start: Where to begin; None = zero.
        tolerance: Tolerance on the largest absolute entry of the gradient.
        max_iterations: Products with the Hessian, each about as dear as a gradient.
    """
    return _solve(prepare(x, y), num_classes, strength, start, tolerance, max_iterations)


def _solve(
    rows: Rows,
    num_classes: int,
    strength: float,
    start: Solution | None,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    place = None if start is None else rows.place(start.weight, start.bias)[None]
    path = path_of(rows, _all(rows), num_classes, [strength], tolerance, max_iterations, place)
    return solutions_of(rows, next(path))[0]


def _solve_path(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    strengths: Sequence[float],
    tolerance: float,
    max_iterations: int,
    progress: Callable[[int, int], None],
) -> tuple[list[Solution], Tensor | None]:
    """Solutions for falling strengths, each started from those before.

    And the basis in which the rows are uncorrelated.
    """
    rows = prepare(x, y)
    solutions: list[Solution] = []
    for point in path_of(rows, _all(rows), num_classes, strengths, tolerance, max_iterations):
        solutions += solutions_of(rows, point)
        progress(len(solutions), len(strengths))
    return solutions, rows.turn if rows.basis is None else rows.basis


def _all(rows: Rows) -> Tensor:
    """One problem that keeps all rows: (1, N)."""
    return torch.ones(1, rows.num_rows, dtype=torch.bool, device=rows.label.device)


def path_of(
    rows: Rows,
    keep: Tensor,
    num_classes: int,
    strengths: Sequence[float],
    tolerance: float,
    max_iterations: int,
    start: Tensor | None = None,
) -> Iterator[Point]:
    """Where the problems end for each strength, one strength after the other."""
    done: list[tuple[float, Tensor]] = []
    for strength in strengths:
        here = math.log(strength)
        if done:
            start = _extrapolated(done, here)
        elif start is None:
            start = rows.exact.new_zeros(len(keep), num_classes, rows.exact.shape[2])
        point = minimise(Problem(rows, keep, strength), start, tolerance, max_iterations)
        done = [*done[-2:], (here, point.place)]
        yield point


def _extrapolated(done: Sequence[tuple[float, Tensor]], here: float) -> Tensor:
    """Where the polynomial through the last solutions, over log strength, is at `here`."""
    apart = dict(done)  # a strength that is listed twice counts once
    factors = [
        math.prod((here - other) / (one - other) for other in apart if other != one)
        for one in apart
    ]
    return torch.stack([f * place for f, place in zip(factors, apart.values(), strict=True)]).sum(0)


def solutions_of(rows: Rows, point: Point) -> list[Solution]:
    """One for each problem."""
    loss, largest = point.loss.tolist(), point.largest.tolist()
    each = zip(rows.weights(point.place), point.place[..., -1], loss, largest, strict=True)
    return [Solution(*parts) for parts in each]


def falling(strengths: Sequence[float]) -> list[float]:
    """Strengths from strong to weak, checked.

    Raises:
        UserError: If there is none, or one is not above 0.
    """
    if not strengths or min(strengths) <= 0:
        raise UserError(f"logistic regression: strengths {list(strengths)}; give some, all above 0")
    return sorted(strengths, reverse=True)


def judge(solution: Solution, x: Tensor, y: Tensor) -> tuple[float, int]:
    """Summed cross-entropy and number of correct rows of standardised features (M, D)."""
    logits = x @ solution.weight + solution.bias
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
    return float(loss), int((logits.argmax(1) == y).sum())


def _best_on(path: Sequence[Solution], x: Tensor, y: Tensor) -> tuple[int, Tensor]:
    """The solution that is best on standardised rows, and the top-1 of each, (S,).

    The only one needs no rows: then (0,).
    """
    if not len(y):
        return 0, x.new_empty(0)
    judged = [judge(solution, x, y) for solution in path]
    loss, correct = (torch.tensor(column).double() for column in zip(*judged, strict=True))
    top1 = correct / len(y)
    return best_of(loss, top1), top1


@torch.no_grad()
def fit_logistic(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    num_classes: int,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = 1e-7,
    max_iterations: int = 5000,
    progress: Callable[[int, int], None] | None = None,
) -> LogisticFit:
    """Logistic regression on train for each strength; the best on val is refitted on both.

    Features are standardised by the statistics of the data of each fit, in float64. Rows labelled
    -1 are left out. The best strength has the highest top-1 on val; of ties, the lowest loss.

    Args:
        train_features: (N, D), any float type; computed on their device.
        train_labels: (N,) int64.
        val_features: (M, D). Test data must not be used here. M may be 0 if there is one strength.
        val_labels: (M,) int64.
        num_classes: C.
        strengths: L2 factors of the mean loss, in any order; scikit-learn's C is
            1 / (strength * N), so that one strength means the same prior at every N.
        tolerance: Tolerance on the largest absolute entry of the gradient.
        max_iterations: Products with the Hessian, per fit.
        progress: Called as `progress(fits done, fits)`.

    Returns:
        The fit to train and val, and every strength's validation accuracy.

    Raises:
        UserError: A split has no labelled row, a label of `num_classes` or more, or a feature that
            is not finite; or a strength is not above 0.

    Source: Kornblith et al. 2019, App. A.4, and Chen et al. 2020 (SimCLR), App. B.8, for the path
    and the fit to both; they have 45 values of C from 1e-6 to 1e5, on features as they are.
    """
    strengths = falling(strengths)
    name = "logistic regression"
    x, y = finite_rows(train_features, train_labels, num_classes, f"{name}, train")
    val = (val_features, val_labels, num_classes, f"{name}, val")
    x_val, y_val = choosing_rows(*val, len(strengths))
    x, x_val, limits = x.double(), x_val.double(), (tolerance, max_iterations)

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total + 1)

    mean, std = statistics(x)
    path, turn = _solve_path(x.sub(mean).div_(std), y, num_classes, strengths, *limits, told)
    best, top1 = _best_on(path, (x_val - mean) / std, y_val)

    x, y = torch.cat([x, x_val]), torch.cat([y, y_val])
    mean, std = statistics(x)
    rows = prepare(x.sub_(mean).div_(std), y, turn)  # nearly the path's rows: no other eigenvectors
    final = _solve(rows, num_classes, strengths[best], path[best], *limits)
    told(len(strengths) + 1, len(strengths))
    gradient = max(solution.gradient for solution in [*path, final])
    return LogisticFit(
        *(final.weight, final.bias, mean, std),
        strength=strengths[best],
        val_top1=top1.tolist(),
        gradient=gradient,
        converged=gradient <= tolerance,
        on_edge=len(set(strengths)) > 1 and best in (0, len(strengths) - 1),
    )
