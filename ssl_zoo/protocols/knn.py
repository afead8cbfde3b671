"""Weighted kNN at several k, the headline fixed in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.evaluation import knn_top1
from ssl_zoo.protocols.base import Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.types import BadValue


class KNN(Protocol):
    """Test images search for neighbours among train and val, val images among train.

    Args:
        ks: Numbers of neighbours.
        k: The headline, one of them; it is not chosen on any data.
        temperature: For the weights.

    Raises:
        BadValue: If a number is below 1, or the headline is not among them.

    Source: Wu et al. 2018 (InstDisc), sec. 3.4; k = 20 from Caron et al. 2021 (DINO).
    """

    headline = "test_top1"

    def __init__(self, ks: Sequence[int], k: int, temperature: float) -> None:
        self.ks, self.k, self.temperature = listed(ks, "ks"), k, temperature
        if any(one < 1 for one in self.ks):
            raise BadValue("ks", self.ks, "a list of numbers of at least 1")
        if k not in self.ks:
            raise BadValue("k", k, f"among ks={self.ks}: add it there")
        if temperature <= 0:
            raise BadValue("temperature", temperature, "above 0")

    @property
    def columns(self) -> tuple[str, ...]:
        """The headline and each k."""
        return (self.headline, *(f"test_top1_k{k}" for k in self.ks))

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, settings=1)

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_top1`, None without val; `test_top1`; and `test_top1_k<k>` at each k."""
        train, val, test = candidate.features
        num_classes = candidate.data.num_classes
        bank = torch.cat([train.representation, val.representation])
        bank_labels = torch.cat([train.label, val.label])
        if max(self.ks) > len(train.label):
            info(f"k={max(self.ks)}: only {len(train.label)} images can vote, all do")
        on_val: dict[int, float] = {}
        if len(val.label):
            on_val = knn_top1(*val, *train, num_classes, [self.k], self.temperature)
        on_test = knn_top1(*test, bank, bank_labels, num_classes, self.ks, self.temperature)
        scores = {f"test_top1_k{k}": top1 for k, top1 in on_test.items()}
        return {"val_top1": on_val.get(self.k), "test_top1": on_test[self.k], **scores}
