"""The objective of softmax regression with an L2 penalty, on rows that several problems share.

Each problem has its own selection of the rows (folds): one product of matrices serves all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 2048  # rows of a block at most
_FLOATS = 2**20  # of a block: products with few columns are fastest in blocks that stay in cache
_SAMPLE = 4096  # rows by which curvature is estimated
_TURNED = 16384  # to turn more rows takes longer than to turn each step's direction


class Rows(NamedTuple):
    """Rows in K blocks of n, padded by zeros, each with a last column of ones for the bias.

    Features that are always 0 are added until r + 1 is a multiple of 16: rows that are a power of
    two apart in memory would share few places of the cache, and products take half as long again.

    Attributes:
        exact: (K, n, r + 1) float64.
        fast: The same in float32, in another basis.
        label: (K, n) int64.
        num_rows: N, without the padding.
        num_features: D.
        span: (D, r) float64, orthonormal but for the added features: rows are given by their
            coordinates in this space, which the optimal weight lies in; None = by their features.
        basis: (r + 1, r + 1) float32, orthonormal: that of `fast`; None = that of `exact`.
        turn: Likewise: the basis in which features of `fast` are uncorrelated; None = their own.
        sample: (m,) numbers of the rows that estimate curvature.
        squares: (m, r + 1) float32, their squares where features are uncorrelated.
    """

    exact: Tensor
    fast: Tensor
    label: Tensor
    num_rows: int
    num_features: int
    span: Tensor | None
    basis: Tensor | None
    turn: Tensor | None
    sample: Tensor
    squares: Tensor

    @property
    def many(self) -> bool:
        """Whether products take longer than the rest."""
        return self.num_rows > BLOCK

    def into_fast(self, x: Tensor) -> Tensor:
        """(..., r + 1) in the basis of `exact` -> float32 in that of `fast`."""
        return x.float() if self.basis is None else x.float() @ self.basis

    def from_fast(self, x: Tensor) -> Tensor:
        """Back, as float64."""
        return (x if self.basis is None else x @ self.basis.T).double()

    def weights(self, place: Tensor) -> Tensor:
        """Of the D features at a place (..., C, r + 1): (..., D, C)."""
        inner = place[..., :-1].transpose(-1, -2)
        return inner[..., : self.num_features, :] if self.span is None else self.span @ inner

    def place(self, weight: Tensor, bias: Tensor) -> Tensor:
        """The place of weights (D, C), which the rows span, and biases (C,): (C, r + 1)."""
        inner = weight.T if self.span is None else weight.T @ self.span
        place = inner.new_zeros(len(bias), self.exact.shape[2])
        place[:, : inner.shape[1]], place[:, -1] = inner, bias
        return place


def prepare(x: Tensor, y: Tensor, turn: Tensor | None = None) -> Rows:
    """Rows x (N, D) float64 and labels y (N,) for any number of solutions.

    `turn` is a basis in which similar rows are uncorrelated, if one is known: it changes how fast
    solutions are found, not where.
    """
    num_features, span, basis = x.shape[1], None, None
    if len(x) < num_features:
        x, span = _few_coordinates(x)
    added = -(x.shape[1] + 1) % 16
    if span is not None:
        span = pad(span, (0, added))
    elif turn is None:
        turn = _uncorrelated(x, added)
        if len(x) < _TURNED:
            basis, turn = turn, None
    blocks = -(-len(x) // min(BLOCK, max(128, _FLOATS // x.shape[1])))
    size = -(-len(x) // blocks)
    exact = x.new_zeros(blocks * size, x.shape[1] + added + 1)
    exact[: len(x), : x.shape[1]], exact[: len(x), -1] = x, 1
    label = y.new_zeros(blocks * size)
    label[: len(x)] = y
    sample = torch.arange(0, len(x), -(-len(x) // _SAMPLE), device=x.device)
    fast = exact.float() if basis is None else exact.float() @ basis
    seen = fast[sample] if turn is None else fast[sample] @ turn
    return Rows(
        exact.view(blocks, size, -1),
        fast.view(blocks, size, -1),
        label.view(blocks, size),
        len(x),
        num_features,
        span,
        basis,
        turn,
        sample,
        seen.square(),
    )


def _few_coordinates(x: Tensor) -> tuple[Tensor, Tensor]:
    """Few rows (N, D) by N uncorrelated coordinates instead of D features, and the span (D, N)."""
    span = torch.linalg.qr(x.T).Q
    inner = x @ span
    rotation = torch.linalg.eigh(inner.T @ inner).eigenvectors
    return inner @ rotation, span @ rotation


def _uncorrelated(x: Tensor, added: int) -> Tensor:
    """The eigenvectors of the covariance of some rows, and 1 for each further column.

    Args:
        x: (N, D).
        added: Features that are always 0; the bias comes last.
    """
    some = x[:: max(1, len(x) // max(_SAMPLE, 3 * x.shape[1]))].float()
    vectors = torch.linalg.eigh(some.T @ some).eigenvectors
    basis: Tensor = torch.block_diag(vectors, torch.eye(added + 1).to(some))
    return basis


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
        rows = self.rows
        x, share = (rows.exact, self.share) if exact else (rows.fast, self.fast_share)
        log_p = logits(place if exact else rows.into_fast(place), x).log_softmax(2)
        index = self.rows.label[:, None, None].expand(-1, len(place), 1, -1)
        cross_entropy = -(log_p.gather(2, index) * share).sum((0, 2, 3)).double()
        loss = cross_entropy + (self.penalty * place.square()).sum((1, 2)) / 2
        residual = log_p.exp_()
        probability = residual.float() if exact else residual.clone()
        residual.scatter_add_(2, index, -torch.ones_like(share))
        slope = slopes(residual.mul_(share), x)
        gradient = (slope if exact else rows.from_fast(slope)) + self.penalty * place
        return Point(place, loss, gradient, self._largest(gradient), probability, exact)

    def _largest(self, gradient: Tensor) -> Tensor:
        slope = gradient[..., :-1]
        if self.rows.span is not None:
            slope = slope @ self.rows.span.T
        return torch.cat([slope, gradient[..., -1:]], dim=2).abs().amax((1, 2))


def scores(rows: Rows, place: Tensor) -> Tensor:
    """The logits of all rows in B problems that are at `place`: (B, N, C) float64."""
    all_rows = logits(place, rows.exact).permute(1, 0, 3, 2).flatten(1, 2)
    return all_rows[:, : rows.num_rows]


def logits(place: Tensor, x: Tensor) -> Tensor:
    """(B, C, r + 1), (K, n, r + 1) -> (K, B, C, n)."""
    columns = place.flatten(0, 1).expand(len(x), -1, -1)
    product: Tensor = torch.bmm(columns, x.transpose(1, 2)).unflatten(1, place.shape[:2])
    return product


def slopes(change: Tensor, x: Tensor) -> Tensor:
    """Its transpose: (K, B, C, n), (K, n, r + 1) -> (B, C, r + 1)."""
    slope: Tensor = torch.bmm(change.flatten(1, 2), x).sum(0).unflatten(0, change.shape[1:3])
    return slope
