"""Weighted kNN at several k, the headline fixed in advance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ssl_zoo.console import info
from ssl_zoo.data import DataModule
from ssl_zoo.evaluation import knn_answers, knn_top1
from ssl_zoo.metric_names import TEST_TOP1, of_setting
from ssl_zoo.protocols.base import Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import COLUMNS, class_scores, shared_features
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

    headline = TEST_TOP1

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
        """Those of a classifier at the headline k, and the top-1 of each k."""
        return (*COLUMNS, *(of_setting(TEST_TOP1, f"k{k}") for k in self.ks))

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, settings=1)
        self._say_small_banks(data)

    def _say_small_banks(self, data: DataModule) -> None:
        """Say which k are above the number of images that can vote, and what is used."""
        train = int((data.train.labels >= 0).sum())
        val = int(torch.isin(data.val.labels, data.train_labels).sum())
        bank = train + val
        for ks, count, who in (
            ([k for k in self.ks if k > bank], bank, "train and val, which vote on test"),
            (
                [self.k] if val and self.k > train else [],
                train,
                "train, which vote on val",
            ),
        ):
            if ks:
                listed = ", ".join(map(str, ks))
                info(f"knn: k={listed} is above the {count} images of {who}: k={count} is used")

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_top1`, the scores of `test_top1` at the headline k, `test_top1_k<k>` at each."""
        train, val, test = shared_features(candidate)
        num_classes = candidate.data.num_train_classes
        bank = torch.cat([train.representation, val.representation])
        bank_labels = torch.cat([train.label, val.label])
        on_val: dict[int, float] = {}
        if len(val.label):
            on_val = knn_top1(*val, *train, num_classes, [self.k], self.temperature)
        on_test = knn_answers(*test, bank, bank_labels, num_classes, self.ks, self.temperature)
        return {
            "val_top1": on_val.get(self.k),
            TEST_TOP1: on_test[self.k].top1,
            **class_scores(on_test[self.k], candidate),
            **{of_setting(TEST_TOP1, f"k{k}"): one.top1 for k, one in on_test.items()},
            "num_bank": len(bank_labels),
        }
