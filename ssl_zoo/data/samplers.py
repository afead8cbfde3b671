"""The order of training: a function of (seed, epoch) only."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_zoo.hashing import CLASS_STREAM, ORDER_STREAM, hash_int64
from ssl_zoo.types import BadValue


def epoch_order(num_images: int, seed: int, epoch: int) -> Tensor:
    """The permutation (num_images,) of an epoch: sorted by a hash of (seed, epoch, index)."""
    index = torch.arange(num_images)
    return hash_int64(index, ORDER_STREAM, seed, epoch).argsort(stable=True)


def m_per_class_order(
    labels: Tensor, m: int, batch_size: int, num_batches: int, seed: int, epoch: int
) -> Tensor:
    """An epoch whose batches hold m images of each of batch_size / m distinct classes.

    Each batch draws its classes anew. A class gives its images in the epoch's order, m at a
    time, and starts again when it has no more: each is seen before any is seen twice, and a
    class of fewer than m images repeats them within a batch.

    Args:
        labels: (N,) int64; images of label -1 are left out.
        m: Images per class; they are adjacent.
        batch_size: A multiple of m, with no more classes than there are.
        num_batches: How many batches.
        seed: For the draws.
        epoch: For the draws.

    Returns:
        Indices (num_batches * batch_size,).

    Source: the sampler of pytorch-metric-learning (MPerClassSampler), which also draws the images
    anew for each batch.
    """
    order = epoch_order(len(labels), seed, epoch)
    order = order[labels[order] >= 0]
    order = order[labels[order].argsort(stable=True)]  # class by class, each in the epoch's order
    classes, counts = labels[order].unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    ids = torch.arange(len(classes))
    handed_out = torch.zeros_like(counts)
    batches = []
    for batch in range(num_batches):
        draw = hash_int64(ids, CLASS_STREAM, seed, epoch, batch)
        chosen = draw.argsort(stable=True)[: batch_size // m]
        turn = handed_out[chosen, None] + torch.arange(m)
        handed_out[chosen] += m
        batches.append(order[starts[chosen, None] + turn % counts[chosen, None]].flatten())
    return torch.cat(batches)


def limited(name: str, limit: int | float | None, num_batches: int) -> int:
    """How many batches remain under one of Lightning's limits.

    Args:
        name: Name of the limit.
        limit: A count, where it is a whole number of at least 1, or a fraction; None = all.
        num_batches: All batches; of 0, 0 remain.

    Raises:
        BadValue: If it is neither, or leaves none.
    """
    if limit is None or num_batches == 0:
        return num_batches
    left = 0
    if isinstance(limit, int) and not isinstance(limit, bool):
        left = min(limit, num_batches)
    elif isinstance(limit, float) and limit <= 1:
        left = int(limit * num_batches)
    elif isinstance(limit, float) and limit.is_integer():
        left = min(int(limit), num_batches)
    if left < 1:
        allowed = f"a count, or a fraction that leaves at least one of {num_batches} micro-batches"
        raise BadValue(name, limit, allowed)
    return left


class EpochSampler:
    """This rank's part of each global micro-batch, resumable in mid-epoch.

    Each optimizer step takes `batch_size` images: `accumulate` micro-batches, each cut into one
    contiguous chunk per rank. Images that do not fill an optimizer step are dropped.

    Args:
        num_images: Images in the training split.
        batch_size: Images per optimizer step, over all devices.
        accumulate: Micro-batches per optimizer step.
        seed: For the order.
        rank: Index of this process.
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
            says = (
                f"does not divide by devices x accumulate = {parts}: "
                f"use {f'{low} or ' if low else ''}{low + parts}"
            )
            raise BadValue("batch_size", batch_size, says=says)
        if batch_size // parts < 2:
            says = (
                "leaves one image per device and micro-batch: batch norm needs two, use "
                f"{2 * parts} or more"
            )
            raise BadValue("batch_size", batch_size, says=says)
        if num_images < batch_size:
            low = num_images // parts * parts
            use = f"use {low} or less" if low > parts else "use more images"
            says = f"is more than the {num_images} training images: {use}"
            raise BadValue("batch_size", batch_size, says=says)
        self.num_images, self.seed = num_images, seed
        self.rank, self.world_size = rank, world_size
        self.micro_batch_size = batch_size // accumulate
        self.num_batches = num_images // batch_size * accumulate
        self.epoch, self.position = 0, 0
        self.repeats = False

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of another epoch; no change for the current one."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def repeat_first(self, num_batches: int) -> None:
        """Make every epoch repeat the first micro-batches of epoch 0, to overfit them."""
        self.num_batches, self.repeats = num_batches, True

    @property
    def order_epoch(self) -> int:
        """The epoch whose order this one uses: its own, unless every epoch repeats the first."""
        return 0 if self.repeats else self.epoch

    def order(self) -> Tensor:
        """The indices of this epoch's micro-batches, of all ranks, one after the other."""
        order = epoch_order(self.num_images, self.seed, self.order_epoch)
        return order[: self.num_batches * self.micro_batch_size]

    def pending(self) -> list[Tensor]:
        """The index tensors of this rank's micro-batches that are still to come in this epoch."""
        batches = self.order().split(self.micro_batch_size)
        return [b.chunk(self.world_size)[self.rank] for b in batches[self.position :]]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class MPerClassSampler(EpochSampler):
    """Micro-batches of `images_per_class` images of each of their classes.

    An epoch has as many steps as in the plain order, so that budgets are comparable.

    Args:
        labels: Labels of the training split, -1 = unlabelled.
        images_per_class: m.
        batch_size: Images per optimizer step, over all devices.
        accumulate: Micro-batches per optimizer step.
        seed: For the order.
        rank: This process.
        world_size: Number of processes.

    Raises:
        UserError: Also if a micro-batch is not a multiple of m, or takes too many classes.
    """

    def __init__(
        self,
        labels: Tensor,
        images_per_class: int,
        batch_size: int,
        accumulate: int = 1,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(len(labels), batch_size, accumulate, seed, rank, world_size)
        self.labels, self.images_per_class = labels, images_per_class
        check_images_per_class(labels, images_per_class, self.micro_batch_size)

    def order(self) -> Tensor:
        """The indices of this epoch's micro-batches, of all ranks, one after the other."""
        return m_per_class_order(
            self.labels,
            self.images_per_class,
            self.micro_batch_size,
            self.num_batches,
            self.seed,
            self.order_epoch,
        )


def check_images_per_class(labels: Tensor, m: int, micro_batch_size: int) -> None:
    """Refuse an m that does not fit the micro-batches.

    Raises:
        UserError: Naming m, the micro-batch and the classes.
    """
    classes = len(labels[labels >= 0].unique())
    if classes == 0:
        raise BadValue("images_per_class", m, says="needs labels, but no image has one")
    if m < 1 or micro_batch_size % m:
        says = (
            f"does not divide the {micro_batch_size} images of a micro-batch (batch_size / "
            "accumulate): change one of them"
        )
        raise BadValue("images_per_class", m, says=says)
    if micro_batch_size // m > classes:
        says = (
            f"asks for {micro_batch_size // m} classes in each micro-batch of {micro_batch_size} "
            f"images, but train has {classes}: lower batch_size to {classes * m} or less, or "
            "raise images_per_class"
        )
        raise BadValue("images_per_class", m, says=says)
