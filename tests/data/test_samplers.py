"""The batches of the epoch sampler over processes and micro-batches."""

from __future__ import annotations

import pytest
import torch

from ssl_zoo.data.samplers import EpochSampler, epoch_order
from ssl_zoo.types import UserError


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_shards_make_up_the_global_batch(accumulate: int, world_size: int) -> None:
    ranks = [
        EpochSampler(50, 16, accumulate, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for sampler in ranks:
        sampler.set_epoch(2)
        assert sampler.num_batches == 3 * accumulate
    shards = [sampler.pending() for sampler in ranks]
    assert all(len(b) == 16 // accumulate // world_size for shard in shards for b in shard)
    micro = [torch.cat(parts) for parts in zip(*shards, strict=True)]
    assert len(micro) == 3 * accumulate
    # whatever the sharding, one order: three batches of 16, and two images left out
    assert torch.equal(torch.cat(micro), epoch_order(50, 3, 2)[:48])


def test_epochs_differ_and_repeat() -> None:
    orders = [epoch_order(50, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert epoch_order(50, 0, 1).tolist() == orders[1]


def test_sampler_goes_on_in_mid_epoch() -> None:
    sampler, resumed = EpochSampler(50, 8, seed=1), EpochSampler(50, 8, seed=1)
    sampler.set_epoch(3)
    whole = sampler.pending()
    sampler.position = 4
    resumed.load_state_dict(sampler.state_dict())
    resumed.set_epoch(3)  # the current epoch: stays in its middle
    rest = resumed.pending()
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[4:], strict=True))
    resumed.set_epoch(4)
    assert (resumed.epoch, resumed.position, len(resumed.pending())) == (4, 0, 6)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "world_size", "message"),
    [
        (10, 2, 2, r"batch_size=10 .* = 4: use 8 or 12$"),
        (15, 1, 2, r"batch_size=15 .* = 2: use 14 or 16$"),
        (3, 2, 2, r"batch_size=3 .* = 4: use 4$"),
        (64, 1, 1, r"batch_size=64 is more than the 50 training images"),
    ],
)
def test_bad_batches(batch_size: int, accumulate: int, world_size: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EpochSampler(50, batch_size, accumulate, world_size=world_size)
