"""Losses over correlations of dimensions: `loss(z (V, N, D)) -> scalar`, for two views."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss, relu

from ssl_zoo.losses.base import StatisticLoss
from ssl_zoo.losses.checks import check_weight, two_views
from ssl_zoo.types import BadValue


class CrossCorrelation(StatisticLoss):
    """sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2, C the cross-correlation of the two views.

    Args:
        off_diagonal: lambda.
        eps: Added to the variances, as batch norm does; a constant dimension costs 1.

    Raises:
        BadValue: If a number is below 0.

    Source: Zbontar et al. 2021 (Barlow Twins), eq. 1 and the official code, whose standard
    deviations are batch norm's: divided by N, not N - 1.
    """

    def __init__(self, off_diagonal: float = 0.0051, eps: float = 1e-5) -> None:
        super().__init__()
        self.off_diagonal = check_weight("off_diagonal", off_diagonal)
        self.eps = check_weight("eps", eps)

    def statistic(self, z: Tensor) -> Tensor:
        """The loss of (2, N, D)."""
        c = cross_correlation(*two_views(self, z), self.eps)
        diagonal = c.diagonal()
        redundancy = c.square().sum() - diagonal.square().sum()
        return (diagonal - 1).square().sum() + self.off_diagonal * redundancy


class VarianceInvarianceCovariance(StatisticLoss):
    """mu variance + lambda invariance + nu covariance: no collapse, equal views, no redundancy.

    Args:
        invariance: Weight of the mean squared difference of the two views; lambda in the paper.
        variance: Weight of the mean over views and dimensions of max(0, 1 - std); mu.
        covariance: Weight of each view's squared covariances over D, summed; nu.
        eps: Added to the variances, under the root.

    Raises:
        BadValue: If a number is below 0, or all weights are 0.

    Source: Bardes et al. 2022 (VICReg) and the official code. In the paper's equations the
    invariance is a sum over D and the variance a sum over the two views; the code, with the same
    weights, has the means.
    """

    def __init__(
        self,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        eps: float = 1e-4,
    ) -> None:
        super().__init__()
        self.invariance = check_weight("invariance", invariance)
        self.variance = check_weight("variance", variance)
        self.covariance = check_weight("covariance", covariance)
        self.eps = check_weight("eps", eps)
        if not invariance + variance + covariance:
            others = "variance and covariance are 0: nothing would be learned"
            raise BadValue("invariance", invariance, f"above 0 where {others}")

    def statistic(self, z: Tensor) -> Tensor:
        """The loss of (2, N, D)."""
        x, y = two_views(self, z)
        return (
            self.variance * (variance(x, self.eps) + variance(y, self.eps)) / 2
            + self.invariance * mse_loss(x, y)
            + self.covariance * (covariance(x) + covariance(y))
        )


def cross_correlation(z1: Tensor, z2: Tensor, eps: float = 1e-5) -> Tensor:
    """(N, D) and (N, D) -> (D, D), between the dimensions of one and those of the other."""

    def standardised(z: Tensor) -> Tensor:
        return (z - z.mean(dim=0)) / (z.var(dim=0, correction=0) + eps).sqrt()

    return standardised(z1).T @ standardised(z2) / len(z1)


def variance(z: Tensor, eps: float = 1e-4) -> Tensor:
    """The mean over dimensions of max(0, 1 - std) of (N, D)."""
    return relu(1 - (z.var(dim=0) + eps).sqrt()).mean()


def covariance(z: Tensor) -> Tensor:
    """The squared covariances of different dimensions of (N, D), summed, over D."""
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]
