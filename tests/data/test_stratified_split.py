"""The images held out for val."""

from __future__ import annotations

import torch

from helpers.configs import Make
from helpers.trees import data_of
from ssl_zoo.data.splits import stratified_split


def test_split_is_stratified_fixed_and_disjoint() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 3 + [3] + [-1] * 40)
    kept, held_out = stratified_split(labels, 0.1, seed=0)
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(len(labels)))
    counts = [int((labels[held_out] == c).sum()) for c in (-1, 0, 1, 2, 3)]
    assert counts == [0, 10, 5, 1, 0]  # the last image of a class stays in train
    assert torch.equal(stratified_split(labels, 0.1, seed=0)[1], held_out)
    assert not torch.equal(stratified_split(labels, 0.1, seed=1)[1], held_out)
    assert len(stratified_split(labels, 0.0, seed=0)[1]) == 0


def test_the_held_out_images_do_not_depend_on_the_run_seed(make_config: Make) -> None:
    a, b = data_of(make_config, "seed=0"), data_of(make_config, "seed=7")
    assert torch.equal(a.val.batch(torch.arange(10)), b.val.batch(torch.arange(10)))
    assert (len(a.train), len(a.val), a.num_images, a.num_classes) == (270, 30, 270, 10)
