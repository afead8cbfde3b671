"""W-MSE's loss: equal views, each whitened."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from ssl_zoo.hashing import PERMUTATION_STREAM, hash_int64
from ssl_zoo.losses.base import StatisticLoss
from ssl_zoo.losses.checks import check_weight
from ssl_zoo.types import BadValue, UserError, check_whole


class WhitenedMSE(StatisticLoss):
    """2 - 2 cos of whitened views, averaged over images and pairs of views.

    The images are cut at random into sub-batches, the same for all views; each view's sub-batch is
    whitened by its own covariance, with gradient.

    Args:
        whitening_size: Images in a sub-batch, more than the embedding's dimensions; None = all.
        repeats: How many cuts of the batch are averaged.
        normalize: Distance of unit vectors; else the mean squared difference.
        eps: The covariance is shrunk to (1 - eps) cov + eps I.
        seed: Of the cuts.

    Raises:
        BadValue: If a number is out of its range.
        UserError: If the sub-batches do not divide the batch, or cannot be whitened.

    Source: Ermolov et al. 2021 (W-MSE), eq. 3 to 5 and the official code: Cholesky, not ZCA.
    """

    calls: Tensor

    def __init__(
        self,
        whitening_size: int | None = 128,
        repeats: int = 1,
        normalize: bool = True,
        eps: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if whitening_size is not None:
            check_whole("whitening_size", whitening_size, least=2)
        check_whole("repeats", repeats)
        self.whitening_size, self.repeats, self.seed = whitening_size, repeats, seed
        self.normalize, self.eps = normalize, check_weight("eps", eps)
        if eps >= 1:
            raise BadValue("eps", eps, "in [0, 1): at 1 nothing is whitened")
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def statistic(self, z: Tensor) -> Tensor:
        """The loss of (V, N, D)."""
        num_views, n, dim = z.shape
        size = self.whitening_size or n
        if n % size or (size <= dim and self.eps == 0):
            raise UserError(
                f"W-MSE whitens sub-batches of whitening_size={size}: it must divide the {n} "
                "images of a micro-batch on all devices (batch_size / accumulate), and be above "
                f"the embedding's {dim} dimensions unless eps is above 0"
            )
        pairs = list(combinations(range(num_views), 2))
        total = z.new_zeros(())
        for _ in range(self.repeats):
            parts = z[:, self.draw_order(n, z.device)].unflatten(1, (n // size, size))
            white = whiten(parts, self.eps)
            total = total + sum(self._distance(white[i], white[j]) for i, j in pairs)
        return total / (self.repeats * len(pairs))

    def draw_order(self, n: int, device: torch.device) -> Tensor:
        """The images in the order in which they are cut, another at each call."""
        index = (self.calls << 32) + torch.arange(n, device=device)
        self.calls += 1
        return hash_int64(index, PERMUTATION_STREAM, self.seed).argsort()

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        if self.normalize:
            return 2 - 2 * (normalize(x, dim=-1) * normalize(y, dim=-1)).sum(dim=-1).mean()
        return mse_loss(x, y)


def whiten(x: Tensor, eps: float = 0.0) -> Tensor:
    """L^-1 (x - mean) of (..., N, D), with L L' the covariance over N: its covariance is I.

    Raises:
        UserError: If the covariance is singular.
    """
    centred = x - x.mean(dim=-2, keepdim=True)
    covariance = centred.mT @ centred / (x.shape[-2] - 1)
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    root, failed = torch.linalg.cholesky_ex((1 - eps) * covariance + eps * eye)
    if failed.any():
        raise UserError(
            "W-MSE cannot whiten the embeddings: a dimension is constant or depends on the others: "
            "set the loss's eps above 0, or a larger whitening_size"
        )
    white: Tensor = torch.linalg.solve_triangular(root, centred.mT, upper=False).mT
    return white
