"""Softmax regression with an L2 penalty by Newton's method, its steps by conjugate gradients.

Several problems may share the rows, each with its own selection of them (folds): one product of
matrices then serves all. Products inside a step are in float32; the objective and the gradient,
by which steps are accepted and the end is decided, are in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 2048  # rows of a block: products with few columns are fastest in blocks that stay in cache
_SAMPLE = 4096  # rows by which curvature is estimated
_HALVINGS = 30
_NEAR = 3e-6  # entries of a gradient that float32 still gets right to a few per cent
_LEFT_OUT = 1e-3  # part of the curvature


class Rows(NamedTuple):
    """Rows in K blocks of n, padded by zeros, each with a last column of ones for the bias.

    Attributes:
        exact: (K, n, r + 1) float64.
        fast: The same in float32.
        label: (K, n) int64.
        num_rows: N, without the padding.
        span: (D, r) float64, orthonormal: rows are given by their coordinates in this space, which
            the optimal weight lies in; None = by their D features.
        turn: (r + 1, r + 1) float32, orthonormal: features are uncorrelated in this basis; None =
            in their own.
        sample: (m,) numbers of the rows that estimate curvature.
        squares: (m, r + 1) float32, their squares in the basis `turn`.
    """

    exact: Tensor
    fast: Tensor
    label: Tensor
    num_rows: int
    span: Tensor | None
    turn: Tensor | None
    sample: Tensor
    squares: Tensor

    @property
    def many(self) -> bool:
        """Whether products take longer than the rest."""
        return len(self.exact) > 1


def prepare(x: Tensor, y: Tensor, turn: Tensor | None = None) -> Rows:
    """Rows x (N, D) float64 and labels y (N,) for any number of solutions.

    `turn` is that of similar rows, if it is known: it changes how fast they are found, not where.
    """
    span = None
    if len(x) < x.shape[1]:  # few labels: N coordinates instead of D features
        span = torch.linalg.qr(x.T).Q
        inner = x @ span
        rotation = torch.linalg.eigh(inner.T @ inner).eigenvectors
        span, x = span @ rotation, inner @ rotation
    elif turn is None:
        half = x.float()
        turn = torch.block_diag(torch.linalg.eigh(half.T @ half).eigenvectors, half.new_ones(1, 1))
    blocks = -(-len(x) // _CHUNK)
    size = -(-len(x) // blocks)
    padded = x.new_zeros(blocks * size, x.shape[1] + 1)
    padded[: len(x), :-1], padded[: len(x), -1] = x, 1
    label = y.new_zeros(blocks * size)
    label[: len(x)] = y
    sample = torch.arange(0, len(x), -(-len(x) // _SAMPLE), device=x.device)
    seen = padded[sample].float()
    return Rows(
        padded.view(blocks, size, -1),
        padded.view(blocks, size, -1).float(),
        label.view(blocks, size),
        len(x),
        span,
        turn,
        sample,
        (seen if turn is None else seen @ turn).square(),
    )


class Point(NamedTuple):
    """Where B problems are.

    Attributes:
        place: (B, C, r + 1) float64, weights and, last, bias.
        loss: (B,) float64.
        gradient: (B, C, r + 1) float64.
        largest: (B,) float64, the gradient's largest absolute entry, by features.
        probability: (K, B, C, n) float32.
        exact: Whether these come from products in float64.
    """

    place: Tensor
    loss: Tensor
    gradient: Tensor
    largest: Tensor
    probability: Tensor
    exact: bool


class Problem:
    """B problems on the same rows: mean cross-entropy of some rows + strength / 2 |weight|^2.

    Args:
        rows: The rows.
        keep: (B, N) bool, the rows of each problem.
        strength: Above 0; one for all, or (B,).
    """

    def __init__(self, rows: Rows, keep: Tensor, strength: float | Tensor) -> None:
        self.rows = rows
        blocks, size, width = rows.exact.shape
        share = rows.exact.new_zeros(len(keep), blocks * size)
        share[:, : rows.num_rows] = keep.double() / keep.sum(1, keepdim=True)
        self.share = share.view(len(keep), blocks, 1, size).transpose(0, 1)  # (K, B, 1, n)
        self.fast_share = self.share.float()
        self.penalty = rows.exact.new_ones(len(keep), 1, width)
        self.penalty *= (
            torch.as_tensor(strength, dtype=torch.float64).to(self.penalty).view(-1, 1, 1)
        )
        self.penalty[..., -1] = 0

    def at(self, place: Tensor, exact: bool) -> Point:
        """The objective and its gradient there, from products in float64 or in float32."""
        x = self.rows.exact if exact else self.rows.fast
        share = self.share if exact else self.fast_share
        log_p = _logits(place.to(x.dtype), x).log_softmax(2)
        index = self.rows.label[:, None, None].expand(-1, len(place), 1, -1)
        cross_entropy = -(log_p.gather(2, index) * share).sum((0, 2, 3)).double()
        loss = cross_entropy + (self.penalty * place.square()).sum((1, 2)) / 2
        residual = log_p.exp_()
        probability = residual.float() if exact else residual.clone()
        residual.scatter_add_(2, index, -torch.ones_like(share))
        gradient = _back(residual.mul_(share), x).double() + self.penalty * place
        return Point(place, loss, gradient, self._largest(gradient), probability, exact)

    def _largest(self, gradient: Tensor) -> Tensor:
        slope = gradient[..., :-1]
        if self.rows.span is not None:
            slope = slope @ self.rows.span.T
        return torch.cat([slope, gradient[..., -1:]], dim=2).abs().amax((1, 2))


def scores(rows: Rows, place: Tensor) -> Tensor:
    """The logits of all rows in B problems that are at `place`: (B, N, C) float64."""
    logits = _logits(place, rows.exact).permute(1, 0, 3, 2).flatten(1, 2)
    return logits[:, : rows.num_rows]


def _logits(place: Tensor, x: Tensor) -> Tensor:
    """(B, C, r + 1), (K, n, r + 1) -> (K, B, C, n)."""
    columns = place.flatten(0, 1).expand(len(x), -1, -1)
    logits: Tensor = torch.bmm(columns, x.transpose(1, 2)).unflatten(1, place.shape[:2])
    return logits


def _back(change: Tensor, x: Tensor) -> Tensor:
    """Its transpose: (K, B, C, n), (K, n, r + 1) -> (B, C, r + 1)."""
    slope: Tensor = torch.bmm(change.flatten(1, 2), x).sum(0).unflatten(0, change.shape[1:3])
    return slope


class Hessian:
    """Products with the Hessian at a point.

    Rows of which the model is sure have next to no curvature, so those with the last thousandth of
    it are left out: a Newton step is approximate anyway.
    """

    def __init__(self, problem: Problem, point: Point) -> None:
        self.x, self.penalty = problem.rows.fast, problem.penalty.float()
        self.p, self.share = point.probability, problem.fast_share
        if problem.rows.many:
            self._select((self.p * (1 - self.p) * self.share).sum((1, 2)).flatten())

    def _select(self, weight: Tensor) -> None:
        """Keep the rows with most of the weight (K * n,), if they are a small part."""
        weight, order = weight.sort(descending=True)
        total = weight.cumsum(0)
        most = int((total < (1 - _LEFT_OUT) * total[-1]).sum()) + 1
        blocks = -(-most // _CHUNK)
        size = -(-most // blocks)
        if blocks * size > 0.7 * len(weight):
            return
        index = order[: blocks * size]
        self.x = self.x.flatten(0, 1)[index].unflatten(0, (blocks, size))
        self.p, self.share = (
            t.permute(1, 2, 0, 3)
            .flatten(2)[..., index]
            .unflatten(2, (blocks, size))
            .permute(2, 0, 1, 3)
            .contiguous()
            for t in (self.p, self.share)
        )

    def times(self, direction: Tensor) -> Tensor:
        """(B, C, r + 1) float32 -> the same."""
        change = _logits(direction, self.x)
        change -= (self.p * change).sum(2, keepdim=True)
        change *= self.p
        change *= self.share
        return _back(change, self.x) + self.penalty * direction


class Curvature:
    """The Hessian's diagonal in a basis in which it is nearly diagonal, as a preconditioner.

    Features are uncorrelated in the basis `turn`, and classes in the eigenvectors of their mean
    covariance.
    """

    def __init__(self, problem: Problem, point: Point) -> None:
        rows = problem.rows
        size = rows.fast.shape[1]
        block, place = rows.sample // size, rows.sample % size
        p = point.probability[block, :, :, place].transpose(0, 1)  # (B, m, C)
        share = problem.fast_share[block, :, 0, place].T[..., None]  # (B, m, 1)
        share = share / share.sum(1, keepdim=True).clamp(min=1e-30)
        mean = (share * p).sum(1)
        covariance = torch.diag_embed(mean) - p.transpose(1, 2) @ (share * p)
        self.classes = torch.linalg.eigh(covariance.double()).eigenvectors.float()  # (B, C, C)
        spread = p @ self.classes.square() - (p @ self.classes).square()
        diagonal = (share * spread).transpose(1, 2) @ rows.squares + problem.penalty.float()
        self.diagonal = diagonal.clamp(min=1e-9)
        self.turn = rows.turn

    def solve(self, gradient: Tensor) -> Tensor:
        """The inverse times (B, C, r + 1) float32."""
        turned = self.classes.transpose(1, 2) @ _same_bias_out(gradient)
        if self.turn is None:
            return _same_bias_out(self.classes @ (turned / self.diagonal))
        turned = turned @ self.turn / self.diagonal @ self.turn.T
        return _same_bias_out(self.classes @ turned)


def _same_bias_out(x: Tensor) -> Tensor:
    """Without what all classes' biases share, which changes no probability and has no curvature."""
    return torch.cat([x[..., :-1], x[..., -1:] - x[..., -1:].mean(1, keepdim=True)], dim=2)


def _step(problem: Problem, point: Point, target: Tensor, most: int) -> tuple[Tensor, int]:
    """An approximate Newton step by at most `most` conjugate gradients, and how many it took.

    Args:
        problem: B problems.
        point: Where they are.
        target: (B,), how far the gradient's norm is to fall; a problem that is there already rests.
        most: At least 1.
    """
    hessian, curvature = Hessian(problem, point), Curvature(problem, point)
    size = _norm(point.gradient)
    awake = target < size
    size = torch.where(awake, size, 1.0)  # float32 has no room for tiny gradients' squares
    residual = -(torch.where(awake, point.gradient, 0.0) / size).float()
    goal = (target / size).float()
    step = torch.zeros_like(residual)
    direction = better = curvature.solve(residual)
    slope = _dot(residual, better)
    for used in range(1, most + 1):
        product = hessian.times(direction)
        bend = _dot(direction, product)
        length = torch.where(bend > 0, slope / bend, 0.0)
        step += length * direction
        residual -= length * product
        if bool((_norm(residual) <= goal).all()) or used == most:
            break
        better = curvature.solve(residual)
        slope, before = _dot(residual, better), slope
        direction = better + torch.where(before > 0, slope / before, 0.0) * direction
    return step.double() * size, used


def minimise(problem: Problem, start: Tensor, tolerance: float, max_iterations: int) -> Point:
    """From `start` (B, C, r + 1) until no entry of a gradient exceeds the tolerance.

    Args:
        problem: B problems.
        start: (B, C, r + 1) float64.
        tolerance: Tolerance on the largest absolute entry of the gradient.
        max_iterations: Conjugate-gradient steps at most.

    Source: Nocedal & Wright 2006, algorithm 7.1; the precision of a step: Eisenstat & Walker 1996,
    choice 2.
    """
    near = max(_NEAR, tolerance)
    point = problem.at(start, exact=not problem.rows.many)
    part = torch.full_like(_norm(point.gradient), 0.1)
    while True:
        if not point.exact and bool((point.largest <= near).any()):
            point = problem.at(point.place, exact=True)
        late = point.largest > tolerance
        if max_iterations < 1 or not bool(late.any()):
            return point if point.exact else problem.at(point.place, exact=True)
        size = _norm(point.gradient)
        enough = 0.3 * tolerance * size / point.largest[:, None, None]
        target = torch.where(late[:, None, None], torch.maximum(part * size, enough), torch.inf)
        step, used = _step(problem, point, target, max_iterations)
        max_iterations -= used
        # Far from the end float32 is precise enough, and several times faster.
        exact = not problem.rows.many or bool((point.largest * part.flatten() <= near).any())
        point = _moved(problem, point, step, exact)
        part = (0.9 * (_norm(point.gradient) / size).square()).clamp(max=0.1)


def _moved(problem: Problem, point: Point, step: Tensor, exact: bool) -> Point:
    """The point after the step, which is halved for the problems whose loss it would raise."""
    falls, length = _dot(point.gradient, step), torch.ones_like(step[:, :1, :1])
    rounding = (1e-12 if exact and point.exact else 1e-5) * (1 + point.loss.abs())
    for _ in range(_HALVINGS):
        new = problem.at(point.place + length * step, exact)
        bad = ~(new.loss <= point.loss + 1e-4 * (length * falls).flatten() + rounding)
        if not bool(bad.any()):
            break
        length = torch.where(bad[:, None, None], length / 2, length)
    return new


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B, C, r), (B, C, r) -> (B, 1, 1)."""
    return (a * b).sum((1, 2), keepdim=True)


def _norm(a: Tensor) -> Tensor:
    """(B, C, r) -> (B, 1, 1)."""
    norm: Tensor = a.flatten(1).norm(dim=1)
    return norm[:, None, None]
