"""Batches of m images of each class."""

from __future__ import annotations

import pytest
import torch
from pytorch_metric_learning.samplers import MPerClassSampler as LibrarySampler

from ssl_zoo.data.samplers import MPerClassSampler, epoch_order, m_per_class_order
from ssl_zoo.types import UserError

SIZES = [9, 4, 12, 2, 7, 30, 5]  # of seven classes; one has fewer than four


def class_labels() -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))
    return labels[epoch_order(len(labels), 9, 9)]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("world_size", [1, 2])
def test_each_micro_batch_holds_m_images_of_distinct_classes(
    accumulate: int, world_size: int
) -> None:
    labels, m = class_labels(), 4
    shards = [
        MPerClassSampler(labels, m, 24, accumulate, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    micro = [torch.cat(p) for p in zip(*(shard.pending() for shard in shards), strict=True)]
    assert len(micro) == len(labels) // 24 * accumulate
    for index in micro:
        found = labels[index].view(-1, m)
        assert (found == found[:, :1]).all()
        assert len(found[:, 0].unique()) == 24 // accumulate // m
        for label, images in zip(found[:, 0].tolist(), index.view(-1, m), strict=True):
            assert len(images.unique()) == min(m, SIZES[label])


def test_the_rule_is_that_of_the_library() -> None:
    """The same batches by class and by count; the library draws the images of a batch anew."""
    labels, m, size = class_labels(), 4, 20
    theirs = iter(LibrarySampler(labels, m, size, length_before_new_iter=400))
    ours = m_per_class_order(labels, m, size, 20, seed=0, epoch=0)
    theirs_index = torch.tensor(list(theirs))
    assert len(ours) == len(theirs_index) == 400
    for index in (ours, theirs_index):
        for batch in labels[index].split(size):
            assert batch.unique(return_counts=True)[1].tolist() == [m] * (size // m)
    share = [labels[i].bincount(minlength=7) / 400 for i in (ours, theirs_index)]
    assert (share[0] - share[1]).abs().max() < 0.08  # classes are drawn alike, whatever their size


def test_a_class_shows_each_image_before_any_twice() -> None:
    labels = class_labels()
    order = m_per_class_order(labels, 2, 4, 30, seed=1, epoch=0)
    for label, size in enumerate(SIZES):
        counts = order[labels[order] == label].bincount(minlength=len(labels))[labels == label]
        assert len(counts) == size
        assert counts.max() - counts.min() <= 1


def test_m_per_class_is_a_function_of_seed_and_epoch() -> None:
    labels = class_labels()
    orders = [
        m_per_class_order(labels, 4, 20, 3, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    torch.manual_seed(7)  # whatever the global generator does
    assert torch.equal(m_per_class_order(labels, 4, 20, 3, 0, 1), orders[1])
    for i, a in enumerate(orders):
        assert not any(torch.equal(a, b) for b in orders[:i])


def test_m_per_class_goes_on_in_mid_epoch() -> None:
    sampler, resumed = (MPerClassSampler(class_labels(), 4, 20, seed=1) for _ in range(2))
    sampler.set_epoch(3)
    whole = sampler.pending()
    sampler.position = 1
    resumed.load_state_dict(sampler.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(resumed.pending(), whole[1:], strict=True))
    assert len(resumed.pending()) == len(whole) - 1 == 2


def test_unlabelled_images_are_never_drawn() -> None:
    labels = class_labels()
    labels[::3] = -1
    assert (labels[m_per_class_order(labels, 2, 8, 20, 0, 0)] >= 0).all()


@pytest.mark.parametrize(
    ("m", "batch_size", "accumulate", "message"),
    [
        (3, 20, 1, r"images_per_class=3 does not divide the 20 images"),
        (4, 24, 4, r"images_per_class=4 does not divide the 6 images"),
        (0, 20, 1, r"images_per_class=0 does not divide the 20 images"),
        (2, 20, 1, r"asks for 10 classes in each .* of 20 images, but train has 7: .* 14 or less"),
    ],
)
def test_batches_that_cannot_be_filled(
    m: int, batch_size: int, accumulate: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        MPerClassSampler(class_labels(), m, batch_size, accumulate)


def test_m_per_class_needs_labels() -> None:
    with pytest.raises(UserError, match=r"images_per_class=4 needs labels, but no image has one$"):
        MPerClassSampler(torch.full((50,), -1), 4, 20)
