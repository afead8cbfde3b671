"""Dictionaries: where a query's positive and negative similarities come from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.distributed import all_gather
from ssl_zoo.precision import at_least_float32
from ssl_zoo.types import UserError


class InBatch(nn.Module):
    """The keys of the global batch are the dictionary; nothing is stored.

    Args:
        normalize: Cosine similarities (True) or dot products (SimCLR, table 5, "no").
        dim: Not needed; dictionaries that store keys take it.

    Source: Chen et al. 2020 (SimCLR), sec. 2.1.
    """

    def __init__(self, normalize: bool = True, dim: int | None = None) -> None:
        super().__init__()
        self.normalize = normalize

    def negatives(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities to the positive and to all keys of the global batch.

        Args:
            query: (N, D), with gradient.
            key: (N, D), row by row the queries' positives; gradient flows where they carry it.
            index: (N,) position of each row's image in the training split.

        Returns:
            pos (N,) and neg (N, N * world_size); columns that show the query's own image, its
            positive among them, are -inf.
        """
        query, key = at_least_float32(query), at_least_float32(key)
        if self.normalize:
            query, key = functional.normalize(query, dim=1), functional.normalize(key, dim=1)
        pos = (query * key).sum(dim=1)
        with torch.autocast(query.device.type, enabled=False):  # bf16 cosines err by 0.006
            neg = query @ all_gather(key).T
        same_image = index[:, None] == all_gather(index)[None, :]
        return pos, neg.masked_fill(same_image, -float("inf"))

    def push(self, key: Tensor, index: Tensor) -> None:
        """Nothing to store."""

    def update(self) -> None:
        """Nothing to commit."""


class Queue(nn.Module):
    """The keys of past batches, first in, first out.

    Args:
        dim: Width of the keys.
        size: Keys that it holds, of any relation to the batch.

    Source: He et al. 2020 (MoCo), algorithm 1: logits from the old queue, then enqueue.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, dim: int, size: int = 65536) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"method.queue_size={size}: give at least 1")
        self.register_buffer("queue", functional.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self._staged: list[Tensor] = []

    def negatives(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities to the positive (N,) and to the queue (N, size); only the query learns."""
        query = functional.normalize(at_least_float32(query), dim=1)
        key = functional.normalize(at_least_float32(key.detach()), dim=1)
        with torch.autocast(query.device.type, enabled=False):
            neg = query @ self.queue.to(query.dtype).T  # moves in `update`, after the backward pass
        return (query * key).sum(dim=1), neg

    @torch.no_grad()
    def push(self, key: Tensor, index: Tensor) -> None:
        """Stage the keys of all ranks, in rank order; `update` enqueues them."""
        key = functional.normalize(at_least_float32(key.detach()), dim=1)
        self._staged.append(all_gather(key))

    @torch.no_grad()
    def update(self) -> None:
        """Enqueue what was staged since the last optimizer step; the oldest keys leave."""
        keys = torch.cat(self._staged).to(self.queue.dtype)
        self._staged = []
        size = len(self.queue)
        first = self.pointer + max(0, len(keys) - size)  # of more keys than fit, the last ones stay
        slots = (first + torch.arange(min(len(keys), size), device=keys.device)) % size
        self.queue.index_copy_(0, slots, keys[-size:])
        self.pointer.copy_((self.pointer + len(keys)) % size)
