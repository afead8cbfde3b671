"""The flawed baselines' miners."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.configs import Make
from ssl_zoo.modules.miners import DisjointPairs, DisjointTriplets


def seen_twice(tuples: tuple[Tensor, ...]) -> bool:
    index = torch.cat(tuples)
    return len(index.unique()) < len(index)


@pytest.mark.parametrize(("m", "classes"), [(4, 8), (2, 6), (4, 3), (4, 5), (8, 8)])
def test_flawed_tuples_are_disjoint_and_so_many(m: int, classes: int) -> None:
    names = torch.randperm(100, generator=torch.Generator().manual_seed(m))[:classes]
    labels = names.repeat_interleave(m)
    size = len(labels)
    a, p, b, n = DisjointPairs()(torch.zeros(size, 2), labels)
    assert (len(a), len(b)) == (size // 4, size // 2 - size // 4)
    assert not seen_twice((a, p, b, n))
    pairs_ = torch.stack([torch.cat([a, b]), torch.cat([p, n])], dim=1)
    assert len(pairs_) == size // 2
    assert (labels[a] == labels[p]).all()
    assert (labels[b] != labels[n]).all()
    anchor, positive, negative = DisjointTriplets()(torch.zeros(size, 2), labels)
    assert len(anchor) == size // 3
    assert not seen_twice((anchor, positive, negative))
    assert (labels[anchor] == labels[positive]).all()
    assert (labels[anchor] != labels[negative]).all()


def test_flawed_tuples_of_any_batch_are_valid() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        labels = torch.randint(0, 6, (31,), generator=generator)
        a, p, b, n = DisjointPairs()(torch.zeros(31, 2), labels)
        assert len(a) + len(b) == 15
        assert not seen_twice((a, p, b, n))
        assert (labels[a] == labels[p]).all()
        assert (labels[b] != labels[n]).all()
        anchor, positive, negative = DisjointTriplets()(torch.zeros(31, 2), labels)
        assert not seen_twice((anchor, positive, negative))
        assert (labels[anchor] == labels[positive]).all()
        assert (labels[anchor] != labels[negative]).all()


@pytest.mark.parametrize("kind", ["contrastive", "triplet"])
def test_flawed_rows(make_config: Make, kind: str) -> None:
    cfg = make_config(f"ablation=metric_learning_flawed_{kind}")
    knobs = {"contrastive": "neg_margin", "triplet": "margin"}
    assert cfg.method.metric_loss[knobs[kind]] == 1.0
    miner = {"contrastive": "DisjointPairs", "triplet": "DisjointTriplets"}[kind]
    assert cfg.method.miner._target_ == f"ssl_zoo.modules.{miner}"
