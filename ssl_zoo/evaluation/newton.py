"""Newton's method for softmax regression, its steps by conjugate gradients.

Products inside a step are in float32; the objective and the gradient, by which steps are accepted
and the end is decided, are in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.evaluation.softmax import BLOCK, Point, Problem, logits, slopes

_HALVINGS = 30
_NEAR = 3e-6  # entries of a gradient that float32 still gets right to a few per cent
_AT_ONCE = 8  # blocks, which are still in a CPU's cache when they are read again
_LEFT_OUT = 1e-4  # part of the curvature; with more, the steps of weak strengths are too long


class Hessian:
    """Products with the Hessian at a point.

    Rows of which the model is sure have next to no curvature, so those with the last part of it are
    left out: a Newton step is approximate anyway.
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
        blocks = -(-most // min(BLOCK, self.x.shape[1]))
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
        product = self.penalty * direction
        at_once = _AT_ONCE if self.x.device.type == "cpu" else len(self.x)
        parts = (t.split(at_once) for t in (self.x, self.p, self.share))
        for x, p, share in zip(*parts, strict=True):
            change = logits(direction, x)
            change -= (p * change).sum(2, keepdim=True)
            change *= p
            change *= share
            product += slopes(change, x)
        return product


class Curvature:
    """The Hessian's diagonal in a basis in which it is nearly diagonal, as a preconditioner.

    Features are uncorrelated in the basis `turn` (None: in that of the rows), and classes in the
    eigenvectors of their mean covariance.
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
    x = x.clone()
    x[..., -1] -= x[..., -1].mean(1, keepdim=True)
    return x


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
    residual = problem.rows.into_fast(torch.where(awake, -point.gradient, 0.0) / size)
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
    return problem.rows.from_fast(step) * size, used


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
