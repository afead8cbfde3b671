"""The order of training: a permutation that is a function of (seed, epoch) alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.hashing import hash_int64
from ssl_zoo.types import UserError

_ORDER_STREAM = 0x6F72646572  # keeps these draws apart from the augmentation's


def epoch_order(num_images: int, seed: int, epoch: int) -> Tensor:
    """The permutation (num_images,) of an epoch: sorted by a hash of (seed, epoch, index)."""
    index = torch.arange(num_images)
    return hash_int64(index, _ORDER_STREAM, seed, epoch).argsort(stable=True)


class EpochSampler:
    """This rank's part of each global micro-batch, resumable in mid-epoch.

    Each optimizer step takes `batch_size` images: `accumulate` micro-batches, each cut into one
    contiguous chunk per rank. What does not fill an optimizer step is left out of the epoch.

    Args:
        num_images: Images in the training split.
        batch_size: Images per optimizer step, over all devices.
        accumulate: Micro-batches per optimizer step.
        seed: Of the order.
        rank: This process.
        world_size: Number of processes.

    Attributes:
        epoch: The epoch to be drawn.
        position: Micro-batches of it that are done.

    Raises:
        UserError: If the batch does not divide, or there are fewer images than one batch.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        accumulate: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        parts = accumulate * world_size
        if batch_size % parts:
            low = batch_size // parts * parts
            raise UserError(
                f"batch_size={batch_size} does not divide by devices x accumulate = {parts}: "
                f"use {f'{low} or ' if low else ''}{low + parts}"
            )
        if batch_size // parts < 2:
            raise UserError(
                f"batch_size={batch_size} leaves one image a device and micro-batch: batch norm "
                f"needs two, use {2 * parts} or more"
            )
        if num_images < batch_size:
            raise UserError(
                f"batch_size={batch_size} is more than the {num_images} training images: lower it"
            )
        self.num_images, self.seed = num_images, seed
        self.rank, self.world_size = rank, world_size
        self.micro_batch_size = batch_size // accumulate
        self.num_batches = num_images // batch_size * accumulate
        self.epoch, self.position = 0, 0

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of another epoch; in the current one, stay."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def pending(self) -> list[Tensor]:
        """The index tensors of this rank's micro-batches that are still to come in this epoch."""
        order = epoch_order(self.num_images, self.seed, self.epoch)
        batches = order[: self.num_batches * self.micro_batch_size].split(self.micro_batch_size)
        return [b.chunk(self.world_size)[self.rank] for b in batches[self.position :]]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
