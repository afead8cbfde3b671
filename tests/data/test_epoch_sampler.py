"""The order of an epoch."""

from __future__ import annotations

import pytest
import torch

from ssl_zoo.data.samplers import EpochSampler, epoch_order
from ssl_zoo.types import UserError


def test_order_is_a_permutation_and_a_function_of_seed_and_epoch() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(1000))
    for i, a in enumerate(orders):
        for b in orders[:i]:
            assert (a == b).sum() < 20
    assert torch.equal(epoch_order(1000, 1, 1), orders[3])


def test_an_epoch_shows_every_image_once() -> None:
    sampler = EpochSampler(num_images=100, batch_size=20)
    assert len(sampler.pending()) == 5
    assert torch.equal(torch.cat(sampler.pending()).sort().values, torch.arange(100))


def test_ranks_take_contiguous_chunks_of_the_same_global_batches() -> None:
    one = EpochSampler(100, batch_size=24, accumulate=2).pending()
    parts = [EpochSampler(100, 24, 2, rank=r, world_size=3).pending() for r in range(3)]
    assert len(one) == 8
    for batch, *chunks in zip(one, *parts, strict=True):
        assert torch.equal(batch, torch.cat(chunks))


def test_state_goes_on_in_mid_epoch() -> None:
    sampler = EpochSampler(100, 10)
    sampler.set_epoch(3)
    expected = sampler.pending()[4:]
    sampler.position = 4
    other = EpochSampler(100, 10)
    other.load_state_dict(sampler.state_dict())
    other.set_epoch(3)  # as Lightning does at the start of the resumed epoch
    assert all(torch.equal(a, b) for a, b in zip(other.pending(), expected, strict=True))
    other.set_epoch(4)
    assert len(other.pending()) == 10


def test_batches_that_do_not_divide_name_the_nearest_that_do() -> None:
    with pytest.raises(UserError, match=r"batch_size=100 .* 8: use 96 or 104"):
        EpochSampler(1000, 100, accumulate=4, world_size=2)
    with pytest.raises(UserError, match=r"batch_size=256 is more than the 90 training images"):
        EpochSampler(90, 256)
