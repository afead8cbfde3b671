"""Multinomial logistic regression to convergence, along a path of L2 strengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_zoo.evaluation.linear import best_of, statistics
from ssl_zoo.evaluation.rows import choosing_rows, finite_rows
from ssl_zoo.types import UserError

# Half decades over the seven in which heads on standardised features differ: stronger strengths
# underfit, weaker ones gain nothing.
STRENGTHS = (
    *(10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01),
    *(3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6),
)
_HISTORY = 10
_CHECK_EVERY = 5  # iterations
# torch's L-BFGS ignores curvature below 1e-10, which near the optimum is all curvature: so it
# minimises the objective times this, a power of two, so that no digit changes.
_SCALE = 2.0**20


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


class _Basis(NamedTuple):
    """Rows in an orthonormal basis of the space that they span, in which features are uncorrelated.

    Attributes:
        vectors: (D, r), r = min(N, D).
        coordinates: (N, r) of the rows.
        power: (r,) mean square of each coordinate.
    """

    vectors: Tensor
    coordinates: Tensor
    power: Tensor


def _basis(x: Tensor) -> _Basis:
    """From rows x (N, D). The optimal weight is in their span, so nothing is lost."""
    if len(x) < x.shape[1]:
        span = torch.linalg.qr(x.T).Q
        inner = x @ span
        vectors = span @ torch.linalg.eigh(inner.T @ inner).eigenvectors
    else:
        vectors = torch.linalg.eigh(x.T @ x).eigenvectors
    coordinates = x @ vectors
    return _Basis(vectors, coordinates, coordinates.square().mean(0))


def solve(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    strength: float,
    start: Solution | None = None,
    tolerance: float = 1e-7,
    max_iterations: int = 5000,
) -> Solution:
    """Minimise mean cross-entropy + strength / 2 |weight|^2 by full-batch L-BFGS; biases are free.

    The optimum is scikit-learn's with C = 1 / (strength * N). With two classes each has its own
    column here, so scikit-learn's single one gives the same probabilities at half the strength.

    Args:
        x: (N, D) float64, standardised.
        y: (N,) int64, none unlabelled.
        num_classes: C.
        strength: Above 0.
        start: Where to begin; None = zero.
        tolerance: Tolerance on the largest absolute entry of the gradient.
        max_iterations: For L-BFGS with a strong Wolfe line search.
    """
    return _solve(_basis(x), y, num_classes, strength, start, tolerance, max_iterations)


class _Objective(NamedTuple):
    """Mean cross-entropy + strength / 2 |weight|^2 of rows x (N, r) and labels y (N,)."""

    x: Tensor
    y: Tensor
    strength: float

    def at(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objective, its gradient, and the mean of p (1 - p) over all probabilities p.

        Args:
            point: (r + 1, C), weight and, below it, bias.
        """
        rows = torch.arange(len(self.y), device=self.y.device)
        weight = point[:-1]
        log_probability = (self.x @ weight + point[-1]).log_softmax(1)
        loss = -log_probability[rows, self.y].mean() + self.strength / 2 * weight.square().sum()
        residual = log_probability.exp()
        spread = (residual * (1 - residual)).mean()
        residual[rows, self.y] -= 1
        residual /= len(self.y)
        slope = self.x.T @ residual + self.strength * weight
        return loss, torch.cat([slope, residual.sum(0)[None]]), spread


def _lbfgs(point: Tensor) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(
        [point],
        max_iter=_CHECK_EVERY,
        max_eval=3 * _CHECK_EVERY,
        tolerance_grad=0.0,  # `_solve` checks the objective's own
        tolerance_change=0.0,  # a step that is small in one direction proves nothing
        history_size=_HISTORY,
        line_search_fn="strong_wolfe",
    )


@torch.no_grad()
def _solve(
    basis: _Basis,
    y: Tensor,
    num_classes: int,
    strength: float,
    start: Solution | None,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    objective = _Objective(basis.coordinates, y, strength)
    columns = objective.x.new_zeros(objective.x.shape[1] + 1, num_classes)
    if start is not None:
        columns[:-1], columns[-1] = basis.vectors.T @ start.weight, start.bias
    # Roughly the Hessian's diagonal at the start of the path: correlated features, such as raw
    # pixels, then take a hundredth of the iterations.
    spread = objective.at(columns)[2].clamp(min=1e-4)
    curvature = torch.cat([spread * basis.power + strength, spread[None]])
    scale = curvature.rsqrt()[:, None]
    point = columns / scale

    @torch.no_grad()
    def closure() -> Tensor:
        loss, gradient, _ = objective.at(point * scale)
        point.grad = _SCALE * scale * gradient
        return _SCALE * loss

    optimizer = _lbfgs(point)
    for done in range(0, max_iterations + _CHECK_EVERY, _CHECK_EVERY):
        loss, gradient, _ = objective.at(point * scale)
        slope = basis.vectors @ gradient[:-1]
        largest = float(torch.cat([slope, gradient[-1:]]).abs().max())
        if largest <= tolerance or done >= max_iterations:
            break
        optimizer.step(closure)
    columns = point * scale
    return Solution(basis.vectors @ columns[:-1], columns[-1], float(loss), largest)


@torch.no_grad()
def solve_path(
    x: Tensor,
    y: Tensor,
    num_classes: int,
    strengths: Sequence[float],
    tolerance: float = 1e-7,
    max_iterations: int = 5000,
    progress: Callable[[int, int], None] | None = None,
) -> list[Solution]:
    """Solutions for falling strengths, each started at the one before; arguments as in `solve`."""
    basis = _basis(x)
    path: list[Solution] = []
    for strength in strengths:
        start = path[-1] if path else None
        path.append(_solve(basis, y, num_classes, strength, start, tolerance, max_iterations))
        if progress is not None:
            progress(len(path), len(strengths))
    return path


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
        max_iterations: Per fit.
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
    x, x_val = x.double(), x_val.double()
    limits = (tolerance, max_iterations)

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total + 1)

    mean, std = statistics(x)
    path = solve_path((x - mean) / std, y, num_classes, strengths, *limits, told)
    best, top1 = _best_on(path, (x_val - mean) / std, y_val)

    x, y = torch.cat([x, x_val]), torch.cat([y, y_val])
    mean, std = statistics(x)
    final = solve((x - mean) / std, y, num_classes, strengths[best], path[best], *limits)
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
