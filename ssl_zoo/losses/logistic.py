"""NT-Logistic: each pair by itself is classified as positive or negative."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ssl_zoo.distributed import global_mean, rank
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.hashing import PAIRS_STREAM, uniform
from ssl_zoo.losses.base import ContrastiveLoss, is_pair, is_semi_hard, mean_over, with_positives
from ssl_zoo.losses.checks import check_choice, check_margin, check_temperature
from ssl_zoo.types import BadValue, check_whole

Mode = Literal["all", "subsample", "reweight", "semi_hard"]


class NTLogistic(ContrastiveLoss):
    """-log sigmoid(s+ / tau) for positives and -log sigmoid(-s- / tau) for negatives.

    Args:
        temperature: tau, divides the similarities.
        mode: How to handle that negatives outnumber positives. "all": not at all, the mean over all
            pairs. "subsample": the mean over the positives and `num_subsampled` negatives of each
            query. "reweight": the mean over the positives plus the mean over the negatives.
            "semi_hard": the mean over the positives and the negatives with s- < s+ and, if a margin
            is given, s- > s+ - margin.
        num_subsampled: Negatives that "subsample" draws for each query, uniformly and without
            replacement; a query that has fewer keeps them all.
        margin: For "semi_hard", in units of similarity. The paper mines "within the loss margin",
            but this loss has no margin; None = no such bound.
        seed: For the draws of "subsample".

    Draws are hashes of (seed, number of the call, row in the global batch, column). The calls are
    counted in a saved buffer, so a resumed run makes the same draws.

    Raises:
        UserError: If a number is out of its range or the mode is unknown.

    Source: Chen et al. 2020 (SimCLR), tables 2 and 4 and appendix B.10.
    """

    calls: Tensor

    def __init__(
        self,
        temperature: float = 0.5,
        mode: Mode = "all",
        num_subsampled: int = 1,
        margin: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_whole("num_subsampled", num_subsampled)
        for name, value, is_set, its_mode in (
            ("num_subsampled", num_subsampled, num_subsampled != 1, "subsample"),
            ("margin", margin, margin is not None, "semi_hard"),
        ):
            if is_set and mode != its_mode:
                raise BadValue(name, value, says=f"is read by mode={its_mode} only, not by {mode}")
        self.temperature = check_temperature(temperature)
        self.mode = check_choice("mode", mode, get_args(Mode))
        self.num_subsampled = num_subsampled
        self.margin = float("inf") if margin is None else check_margin(margin, positive=True)
        self.seed = seed
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the pairs of all ranks; for "reweight", the sum of the two classes' means.

        Args:
            pos: (N,) similarities to the positive.
            neg: (N, K) similarities to the negatives, -inf where there is none.
        """
        pos, neg = at_least_float32(pos), at_least_float32(neg)
        attract = -logsigmoid(pos / self.temperature)
        repel = -logsigmoid(-neg / self.temperature)
        if self.mode == "reweight":
            return global_mean(attract.sum(), len(pos)) + mean_over(repel, is_pair(neg))
        return mean_over(*with_positives(attract, repel, self._kept(pos, neg)))

    def _kept(self, pos: Tensor, neg: Tensor) -> Tensor:
        if self.mode == "subsample":
            return self._draw(is_pair(neg))
        if self.mode == "semi_hard":
            return is_semi_hard(pos, neg, self.margin)
        return is_pair(neg)

    def _draw(self, valid: Tensor) -> Tensor:
        """`num_subsampled` of the valid columns of each row, as a mask (N, K)."""
        n, k = valid.shape
        row = rank() * n + torch.arange(n, device=valid.device)
        numbers = uniform((self.calls << 32) + row, k, PAIRS_STREAM, self.seed)
        self.calls += 1
        drawn = numbers.masked_fill(~valid, -1).topk(min(self.num_subsampled, k), dim=1).indices
        return torch.zeros_like(valid).scatter(1, drawn, True) & valid
