"""Codes: how much of each prototype an embedding is assigned, from its scores."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ssl_zoo.distributed import all_gather
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.types import UserError, check_number, check_whole


class Assignment(nn.Module, ABC):
    """`assignment(scores (N, K)) -> codes (N, K)`, whose rows sum to 1, without a gradient.

    Args:
        epsilon: Softness of the codes: 0.05 in the paper, lower is nearer to one prototype each.

    Raises:
        BadValue: If it is not above 0.
    """

    def __init__(self, epsilon: float = 0.05) -> None:
        super().__init__()
        check_number("epsilon", epsilon, above=True)
        self.epsilon = epsilon

    @torch.no_grad()
    def forward(self, scores: Tensor) -> Tensor:
        """The codes of this rank's rows of the scores.

        Raises:
            UserError: If they have another shape.
        """
        with torch.autocast(scores.device.type, enabled=False):
            codes = self.codes(at_least_float32(scores.detach()))
        if codes.shape != scores.shape:
            shapes = f"{tuple(codes.shape)} of scores of {tuple(scores.shape)}"
            name = type(self).__name__
            raise UserError(f"{name} makes codes of {shapes}: give a row of K for each, of sum 1")
        return codes

    @abstractmethod
    def codes(self, scores: Tensor) -> Tensor:
        """The codes of scores in float32 or better."""


class Sinkhorn(Assignment):
    """All prototypes are assigned equally often within the rows of all ranks.

    Args:
        epsilon: Of the entropy that is traded against the scores.
        iterations: Of Sinkhorn and Knopp's algorithm; the prototypes' shares are the nearer to
            equal, the more there are. Rows sum to 1 after any number.

    Raises:
        BadValue: If there is none, which leaves no code, or epsilon is not above 0.

    Source: Caron et al. 2020 (SwAV), eq. 3 to 5 and the official code; in logarithms.
    """

    def __init__(self, epsilon: float = 0.05, iterations: int = 3) -> None:
        super().__init__(epsilon)
        check_whole("iterations", iterations)
        self.iterations = iterations

    def codes(self, scores: Tensor) -> Tensor:
        """The codes of this rank's rows."""
        log_q = scores / self.epsilon
        for _ in range(self.iterations):
            log_q = log_q - _log_of_all_rows(log_q)
            log_q = log_q - log_q.logsumexp(dim=1, keepdim=True)
        return log_q.exp()


class Softmax(Assignment):
    """Each row on its own, without equal shares: all images may end at one prototype.

    Source: the collapse that Caron et al. 2020 (SwAV), sec. 3.1, has equal shares against.
    """

    def codes(self, scores: Tensor) -> Tensor:
        """The codes of this rank's rows."""
        return (scores / self.epsilon).softmax(dim=1)


def _log_of_all_rows(log_q: Tensor) -> Tensor:
    """The logarithm of each prototype's sum over the rows of all ranks, (1, K)."""
    return all_gather(log_q.logsumexp(dim=0, keepdim=True)).logsumexp(dim=0, keepdim=True)
