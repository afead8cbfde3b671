"""Predictive losses: `loss(prediction, target) -> scalar`, lowest when the two agree.

Both are (N, D) and unnormalised. Nothing is detached here: the method decides whether the target
gets a gradient. Losses compute in float32 or better, whatever the input precision.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from ssl_zoo.distributed import global_mean
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.losses.base import PredictiveLoss


class NegativeCosine(PredictiveLoss):
    """-cos(prediction, target), from -1 to 1.

    Source: Chen & He 2021 (SimSiam), eq. 1; the symmetrised halves are the method's.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean over the rows of all ranks of (N, D) and (N, D)."""
        p, z = _unit(prediction), _unit(target)
        return global_mean(-(p * z).sum(), len(p))


class NormalizedMSE(PredictiveLoss):
    """Squared distance of the unit vectors, summed over dimensions: 2 - 2 cos, from 0 to 4.

    Source: Grill et al. 2020 (BYOL), eq. 2; the sum over the two directions is the method's.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean over the rows of all ranks of (N, D) and (N, D)."""
        p, z = _unit(prediction), _unit(target)
        return global_mean((p - z).square().sum(), len(p))


class SoftmaxCrossEntropy(PredictiveLoss):
    """-sum softmax(target) log softmax(prediction), over the dimensions as if they were classes.

    Source: Chen & He 2021 (SimSiam), sec. 4.5 "similarity function".
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean over the rows of all ranks of (N, D) and (N, D)."""
        log_p = log_softmax(at_least_float32(prediction), dim=1)
        z = at_least_float32(target).softmax(dim=1)
        return global_mean(-(z * log_p).sum(), len(log_p))


def _unit(x: Tensor) -> Tensor:
    return normalize(at_least_float32(x), dim=1)
