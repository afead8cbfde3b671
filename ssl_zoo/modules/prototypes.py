"""Prototypes, and the queue of embeddings that are assigned to them beside a small batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.console import info
from ssl_zoo.distributed import all_gather, rank, world_size
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.types import Facts, UserError, check_number, check_whole


class Prototypes(nn.Module):
    """K vectors: `prototypes(z (N, D)) -> scores (N, K)`, of unit embeddings.

    They are of unit length in each step, which they are brought to in place, and which the
    gradient knows nothing of; the optimizer leaves them at another, so that is what is saved.

    Args:
        dim: D, width of the embeddings.
        count: K.
        frozen_epochs: They do not learn in the first epochs, or part of one: what they start from
            is neither moved nor decayed.
        facts: Its `steps_per_epoch` is needed to freeze them.

    Raises:
        UserError: If a number is out of its range, or the steps of an epoch are not known.

    Source: Caron et al. 2020 (SwAV), sec. 3.1, appendix A and the official code.
    """

    def __init__(
        self, dim: int, count: int = 3000, frozen_epochs: float = 0, facts: Facts = Facts()
    ) -> None:
        super().__init__()
        check_whole("count", count, least=2)
        self.weight = nn.Linear(dim, count, bias=False).weight
        self.frozen_steps = _in_steps("frozen_epochs", frozen_epochs, facts)
        self.steps = 0

    def forward(self, z: Tensor) -> Tensor:
        """The scores of embeddings, in float32 or better.

        Args:
            z: (..., D), of unit length.
        """
        with torch.autocast(z.device.type, enabled=False):  # bf16 cosines err by 0.006
            z = at_least_float32(z)
            return z @ self.weight.to(z.dtype).T

    @torch.no_grad()
    def normalize(self) -> None:
        """Bring them to unit length, before they are used."""
        self.weight.copy_(functional.normalize(self.weight, dim=1))

    def before_step(self) -> None:
        """Drop their gradient while they are frozen."""
        if self.steps < self.frozen_steps:
            self.weight.grad = None

    def update(self) -> None:
        """Count an optimizer step."""
        self.steps += 1

    # reading a number on the device would make the host wait
    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)


class EmbeddingQueue(nn.Module):
    """Past embeddings of each view that has a code, the newest first; the same on all ranks.

    They are assigned together with the batch once the queue is full, so that a batch smaller than
    the number of prototypes need not share them out alone.

    Args:
        dim: D, width of the embeddings.
        size: Embeddings of each view that it holds; 0 = no queue. The official code rounds it down
            to a multiple of the batch.
        num_views: How many views have a code.
        start_epoch: The queue is filled from here on.
        facts: Its `steps_per_epoch` is needed to start later than at once.

    Raises:
        UserError: If a number is out of its range, or the steps of an epoch are not known.

    Source: Caron et al. 2020 (SwAV), sec. 3.1 "working with small batches", and the official code.
    """

    queue: Tensor

    def __init__(
        self,
        dim: int,
        size: int = 0,
        num_views: int = 2,
        start_epoch: float = 0,
        facts: Facts = Facts(),
    ) -> None:
        super().__init__()
        check_whole("size", size, least=0)
        self.register_buffer("queue", torch.zeros(num_views, size, dim))
        self.first_step = _in_steps("start_epoch", start_epoch, facts)
        if facts.num_images is not None and size > facts.num_images:
            info(
                f"the queue of {size:,} embeddings is longer than the data set of "
                f"{facts.num_images:,} images: it is not used before it is full"
            )
        self.steps = self.filled = 0
        self._staged: list[Tensor] = []

    def past(self, view: int) -> Tensor:
        """This rank's share of a view's past embeddings; none until the queue is full."""
        used = self.queue[view] if self.filled >= self.queue.shape[1] else self.queue[view, :0]
        return used[rank() :: world_size()]

    @torch.no_grad()
    def push(self, z: Tensor) -> None:
        """Stage the embeddings of all ranks, in rank order; `update` enqueues them.

        Args:
            z: (num_views, N, D), of unit length.
        """
        if self.queue.shape[1] and self.steps >= self.first_step:
            images = all_gather(at_least_float32(z.detach()).transpose(0, 1).contiguous())
            self._staged.append(images.transpose(0, 1))

    @torch.no_grad()
    def update(self) -> None:
        """Enqueue what was staged since the last optimizer step; the oldest leave."""
        self.steps += 1
        if self._staged:
            new = torch.cat(self._staged, dim=1).to(self.queue.dtype)
            self._staged = []
            self.filled += new.shape[1]
            self.queue.copy_(torch.cat([new, self.queue], dim=1)[:, : self.queue.shape[1]])

    # reading numbers on the device would make the host wait
    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.steps, self.filled])

    def set_extra_state(self, state: Tensor) -> None:
        self.steps, self.filled = state.tolist()


def _in_steps(name: str, epochs: float, facts: Facts) -> int:
    check_number(name, epochs)
    if epochs and facts.steps_per_epoch is None:
        raise UserError(f"{name}={epochs} needs facts=Facts(steps_per_epoch=...)")
    return max(1, round(epochs * (facts.steps_per_epoch or 1))) if epochs else 0
