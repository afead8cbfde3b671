"""Noise contrastive estimation of a softmax over all training images."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ssl_zoo.distributed import all_gather, global_mean
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.losses.base import ContrastiveLoss, is_pair
from ssl_zoo.losses.checks import check_choice, check_temperature
from ssl_zoo.types import BadValue, Facts, UserError, check_number

Normaliser = Literal["code", "paper"]


class NCE(ContrastiveLoss):
    """-log h(positive) - sum over m noise samples of log(1 - h), with h = P / (P + m / n).

    P = exp(s / tau) / Z is the probability of one of n images under a softmax over all of them, and
    m / n the rate of the noise. Z is a constant: the first call estimates it, over the batches of
    all ranks, and later calls keep it. Its logarithm is saved in the buffer `log_z`.

    Args:
        facts: n is its `num_images`, the size of the training split.
        temperature: tau, divides the similarities.
        z: "code" is the official code's rule, n times the mean of exp(s / tau) over all samples,
            including the positive; "paper" is n / m times the sum over the negatives.
        eps: Added to the denominator of h.

    m is the number of a query's negatives that are not -inf. The sum is not divided by m + 1.

    Raises:
        UserError: If a number is out of its range, the rule is unknown, or the first batch
            gives no finite Z.

    Source: Wu et al. 2018 (InstDisc), sec. 3.2, and the official code (lemniscate.pytorch).
    """

    log_z: Tensor

    def __init__(
        self,
        facts: Facts,
        temperature: float = 0.07,
        z: Normaliser = "code",
        eps: float = 1e-7,
    ) -> None:
        super().__init__()
        if facts.num_images is None or facts.num_images < 1:
            raise BadValue("facts.num_images", facts.num_images, "at least 1")
        check_number("eps", eps)
        self.num_images = facts.num_images
        self.temperature = check_temperature(temperature)
        self.z = check_choice("z", z, get_args(Normaliser))
        self.eps = eps
        self.register_buffer("log_z", torch.zeros(()))
        self._is_estimated = False

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the queries of all ranks.

        Args:
            pos: (N,) cosines to the positive, the query's own slot.
            neg: (N, m) cosines to the noise samples, -inf where there is none.
        """
        scores = at_least_float32(torch.cat([pos[:, None], neg], dim=1)) / self.temperature
        if not self._is_estimated:
            self._estimate(scores)
        valid = is_pair(neg)
        noise = valid.sum(dim=1, keepdim=True).to(scores.dtype) / self.num_images
        # log h = log sigmoid(u) and log(1 - h) = log sigmoid(-u) - log(1 + eps / noise)
        u = scores - self.log_z - (noise + self.eps).log()
        log_h = logsigmoid(u[:, 0])
        log_rest = logsigmoid(-u[:, 1:].masked_fill(~valid, 0)) - (self.eps / noise).log1p()
        total = log_h.sum() + log_rest.masked_fill(~valid, 0).sum()
        return global_mean(-total, len(pos))

    @torch.no_grad()
    def _estimate(self, scores: Tensor) -> None:
        drawn = scores if self.z == "code" else scores[:, 1:]
        # gathered, not averaged: exp(s / tau) overflows, and every rank must find the same bits
        log_total = all_gather(drawn.logsumexp(dim=(0, 1))[None]).logsumexp(dim=0)
        count = all_gather(is_pair(drawn).sum()[None]).sum().to(scores.dtype)
        log_z = math.log(self.num_images) + log_total - count.log()
        if not log_z.isfinite():
            raise UserError(
                f"NCE's Z is exp({log_z.item()}) on the first batch: "
                "it needs finite similarities and a negative"
            )
        self.log_z.copy_(log_z)
        self._is_estimated = True

    # how a module saves state that is not a tensor of the forward pass
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self._is_estimated)

    def set_extra_state(self, state: Tensor) -> None:
        self._is_estimated = bool(state)
