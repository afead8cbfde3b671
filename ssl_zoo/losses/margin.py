"""Losses with a margin, on triplets and pairs; `loss(pos, neg)` as in contrastive.py."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor
from torch.nn.functional import relu

from ssl_zoo.hardware import at_least_float32
from ssl_zoo.losses.base import ContrastiveLoss, is_pair, is_semi_hard, mean_over, with_positives
from ssl_zoo.losses.checks import check_choice, check_margin

TripletMode = Literal["all", "semi_hard", "semi_hard_wide"]


class MarginTriplet(ContrastiveLoss):
    """max(s- - s+ + m, 0), averaged over the (query, negative) combinations that `mode` keeps.

    Args:
        margin: m, in units of similarity.
        mode: "all" keeps every combination, those with loss 0 too. "semi_hard" keeps
            s+ - m < s- < s+: negatives within the margin, but less similar than the positive.
            "semi_hard_wide" keeps s- < s+ + m, a reading found in practice: it leaves out only the
            negatives that are harder than the positive by more than the margin.

    Raises:
        UserError: If the margin is below 0 (semi-hard: not above 0) or the mode is unknown.

    Source: Chen et al. 2020 (SimCLR), tables 2 and 4 and appendix B.10 (margins 0, 0.4, 0.8, 1.6).
    """

    def __init__(self, margin: float = 0.8, mode: TripletMode = "all") -> None:
        super().__init__()
        self.mode = check_choice("mode", mode, get_args(TripletMode))
        self.margin = check_margin(margin, positive=mode != "all")

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the kept combinations of all ranks; 0 if there is none.

        Args:
            pos: (N,) similarities to the positive.
            neg: (N, K) similarities to the negatives, -inf where there is none.
        """
        pos, neg = at_least_float32(pos), at_least_float32(neg)
        terms = relu(neg - pos[:, None] + self.margin)
        return mean_over(terms, self._kept(pos, neg))

    def _kept(self, pos: Tensor, neg: Tensor) -> Tensor:
        if self.mode == "all":
            return is_pair(neg)
        if self.mode == "semi_hard":
            return is_semi_hard(pos, neg, self.margin)
        return is_pair(neg) & ~(neg >= pos[:, None] + self.margin)


class FaceNetTriplet(ContrastiveLoss):
    """max(|a - p|^2 - |a - n|^2 + m, 0) between unit vectors, averaged over all triplets.

    The squared distance of unit vectors is 2 - 2 s: similarities must be cosines.

    Args:
        margin: m, in units of squared distance (0 to 4).

    Raises:
        UserError: If the margin is below 0.

    Source: Schroff et al. 2015 (FaceNet), eq. 3, which sums where this averages.
    """

    needs_cosines = True

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = check_margin(margin)

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the triplets of all ranks; 0 if there is none.

        Args:
            pos: (N,) cosines to the positive.
            neg: (N, K) cosines to the negatives, -inf where there is none.
        """
        pos, neg = at_least_float32(pos), at_least_float32(neg)
        return mean_over(relu(2 * (neg - pos[:, None]) + self.margin), is_pair(neg))


class ContrastiveMargin(ContrastiveLoss):
    """D^2 / 2 for positives, max(m - D, 0)^2 / 2 for negatives, averaged over all pairs.

    D is the distance of unit vectors, sqrt(2 - 2 s) from 0 to 2: similarities must be cosines.

    Args:
        margin: m, the distance beyond which negatives have loss 0.

    Raises:
        UserError: If the margin is not above 0.

    Source: Hadsell et al. 2006, eq. 4.
    """

    needs_cosines = True

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = check_margin(margin, positive=True)

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        """Mean over the pairs of all ranks, positive and negative alike.

        Args:
            pos: (N,) cosines to the positive.
            neg: (N, K) cosines to the negatives, -inf where there is none.
        """
        pos, neg = at_least_float32(pos), at_least_float32(neg)
        attract = 1 - pos
        repel = relu(self.margin - _distance(neg)).square() / 2
        return mean_over(*with_positives(attract, repel, is_pair(neg)))


def _distance(cosine: Tensor) -> Tensor:
    """sqrt(2 - 2 s); its gradient at distance 0, where the formula's is infinite, is 0."""
    squared = 2 - 2 * cosine
    apart = ~(squared <= 0)
    return squared.where(apart, 1).sqrt().where(apart, 0)
