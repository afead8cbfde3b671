"""Test is read once, and nothing is chosen on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from helpers.protocols import planted
from ssl_zoo.evaluation.features import Features
from ssl_zoo.protocols.linear import Linear


class Guarded(Features):
    """Features that count how often their representation is read."""

    reads = 0

    @property
    def representation(self) -> Tensor:
        Guarded.reads += 1
        return self[0]

    def __iter__(self) -> Iterator[Tensor]:
        Guarded.reads += 1
        return super().__iter__()

    def labelled(self) -> Features:
        return self


def blobs(seed: int, count: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(count) % 3
    noise = torch.randn(count, 8, generator=generator)
    return Features(2 * torch.nn.functional.one_hot(label, 8) + noise, label)


def linear_scores(test: Features, seed: int = 0) -> dict[str, Any]:
    candidate = replace(planted(blobs(0, 300), blobs(1, 90), test, 3), seed=seed)
    return Linear(epochs=3, batch_size=64).score(candidate)


def test_linear_reads_test_once_and_chooses_nothing_on_it() -> None:
    Guarded.reads = 0
    scores = linear_scores(Guarded(*blobs(2, 60)))
    assert Guarded.reads == 1
    # Test labels turned round change the test score and nothing else.
    wrong = blobs(2, 60)._replace(label=2 - blobs(2, 60).label)
    others = linear_scores(wrong)
    assert others["test_top1"] < scores["test_top1"]
    chosen, same = ({k: v for k, v in s.items() if "test" not in k} for s in (scores, others))
    assert chosen == same != {}


def test_the_seed_moves_the_heads() -> None:
    test = blobs(2, 6000)
    assert linear_scores(test, seed=1) == linear_scores(test, seed=1) != linear_scores(test, seed=2)
