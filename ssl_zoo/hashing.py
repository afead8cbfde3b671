"""Random numbers that are pure functions of integers: there is no state to save or share."""

from __future__ import annotations

import torch
from torch import Tensor

# The streams: the first number of a key, so that each use has its own draws (the augmentation's
# keys begin with the seed). Recorded results depend on these values.
SPLIT_STREAM = 0x73706C6974  # which images are held out
ORDER_STREAM = 0x6F72646572  # the order of an epoch
CLASS_STREAM = 0x636C617373  # the classes of a batch
SHAPES_STREAM = 0x5A0E  # the drawn shapes
SHUFFLE_STREAM = 0x73687566  # the permutations of shuffled batch norm
BANK_STREAM = 0x62616E6B  # the negatives taken from a memory bank
PAIRS_STREAM = 0x6E65676174  # the negative pairs that a logistic loss subsamples
SLICES_STREAM = 0x736C69636573  # the directions on which LeJEPA projects embeddings
PERMUTATION_STREAM = 0x7065726D  # the sub-batches that W-MSE whitens
SUBSET_STREAM = 0x737562736574  # the few labels of few-shot and fine-tuning
GALLERY_STREAM = 0x67616C6C657279  # the queries that a gallery shows
SAMPLE_STREAM = 0x73616D706C65  # the images that measures without labels look at
DETECTION_SPLIT_STREAM = 0x6361727665  # the images of detection that are held out
DETECTION_FLIP_STREAM = 0x666C6970  # the flips of detection

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 tensors; the masks make `>>` a logical shift."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _MIX1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _MIX2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def hash_int64(index: Tensor, *key: int) -> Tensor:
    """64 hashed bits for each entry of an index tensor.

    Args:
        index: Int64 tensor of any shape.
        *key: Integers that name the stream, such as (seed, epoch, view).

    Returns:
        Int64 tensor of the same shape and device, uniform over all 64-bit patterns.

    Source: Steele et al. 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
    """
    state = torch.zeros_like(index)
    for word in key:
        state = _mix(state + _GOLDEN + word)
    return _mix(_mix(state + _GOLDEN) ^ _mix(index * _GOLDEN + 1))


def uniform(index: Tensor, count: int, *key: int) -> Tensor:
    """`count` uniform numbers in [0, 1) for each index, the same on every device.

    Args:
        index: Int64 tensor (N,).
        count: How many numbers each index gets.
        *key: Integers that name the stream.

    Returns:
        Float64 tensor (N, count) with 53 random bits each.
    """
    counter = torch.arange(count, device=index.device)
    bits = _mix(hash_int64(index, *key)[:, None] + (counter + 1) * _GOLDEN)
    return ((bits >> 11) & 0x1FFFFFFFFFFFFF).double() * 2.0**-53
