"""Dictionaries: where a query's positive and negative similarities come from."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.console import info
from ssl_zoo.distributed import all_gather
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.hashing import BANK_STREAM, uniform
from ssl_zoo.types import BadValue, Facts, UserError, check_number, check_whole


class Negatives(nn.Module, ABC):
    """A dictionary, made by `negatives(dim=..., facts=...)`: what queries are compared with.

    Attributes:
        normalize: Whether similarities are cosines; else they are dot products.
    """

    normalize = True

    @abstractmethod
    def negatives(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities of each query to its positive, (N,), and to its negatives, (N, K).

        Args:
            query: (N, D), with gradient.
            key: (N, D), row by row the queries' positives.
            index: (N,) position of each row's image in the training split.
        """

    def push(self, key: Tensor, index: Tensor) -> None:
        """Stage keys after the loss; does nothing if none are stored."""

    def update(self) -> None:
        """Commit what was staged, once per optimizer step."""


class InBatch(Negatives):
    """The keys of the global batch are the dictionary; nothing is stored.

    Args:
        normalize: Cosine similarities (True) or dot products (SimCLR, table 5, "no").
        dim: Not needed; dictionaries that store keys take it.
        facts: Likewise.

    Source: Chen et al. 2020 (SimCLR), sec. 2.1.
    """

    def __init__(
        self, normalize: bool = True, dim: int | None = None, facts: Facts = Facts()
    ) -> None:
        super().__init__()
        self.normalize = normalize

    def negatives(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities to the positive and to all keys of the global batch.

        Args:
            query: (N, D), with gradient.
            key: (N, D), row by row the queries' positives; may carry a gradient.
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


class Queue(Negatives):
    """The keys of past batches, first in, first out.

    Args:
        dim: Width of the keys.
        size: Keys that it holds; need not be a multiple of the batch.
        facts: Its `num_images` only serves to say that the queue is longer than the data set.

    Raises:
        BadValue: If the size is below 1.

    Source: He et al. 2020 (MoCo), algorithm 1: logits from the old queue, then enqueue.
    """

    queue: Tensor
    pointer: Tensor

    def __init__(self, dim: int, size: int = 4096, facts: Facts = Facts()) -> None:
        super().__init__()
        check_whole("size", size)
        if facts.num_images is not None and size > facts.num_images:
            info(
                f"the queue of {size:,} keys is longer than the data set of {facts.num_images:,} "
                "images: it holds several keys of an image, also of the query's own"
            )
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
        first = self.pointer + max(0, len(keys) - size)  # if too many, the last keys stay
        slots = (first + torch.arange(min(len(keys), size), device=keys.device)) % size
        self.queue.index_copy_(0, slots, keys[-size:])
        self.pointer.copy_((self.pointer + len(keys)) % size)


class MemoryBank(Negatives):
    """A slot for each training image, which holds a moving average of its embeddings.

    The positive is the query's own slot, as it was before this step; the bank gets no gradient.

    Args:
        dim: Width of the embeddings.
        facts: Its `num_images` is the number of slots, one for each image of the training split.
        num_negatives: Slots that each query draws, uniformly and with replacement, possibly its
            own, as in the papers' code; None = every other slot.
        momentum: m of v <- normalised(m v + (1 - m) f).
        exclude_own: If the own slot is drawn, it is not a negative; for InfoNCE over few images.
        seed: For the draws, which are hashes of (seed, optimizer step, image).

    Raises:
        UserError: If a number is out of its range, or the number of images is not known.

    Source: Wu et al. 2018 (InstDisc), sec. 3.1 and 3.2, and the official code (lemniscate.pytorch).
    """

    bank: Tensor
    steps: Tensor

    def __init__(
        self,
        dim: int,
        facts: Facts,
        num_negatives: int | None = 4096,
        momentum: float = 0.5,
        exclude_own: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if facts.num_images is None:
            raise UserError(
                "a memory bank has a slot for each image: give facts=Facts(num_images=...)"
            )
        if num_negatives is not None and num_negatives < 1:
            raise BadValue("num_negatives", num_negatives, "at least 1, or null")
        if num_negatives is not None and num_negatives > facts.num_images:
            info(
                f"{num_negatives:,} negatives are drawn from a memory bank of {facts.num_images:,} "
                "images: each query meets some of them several times"
            )
        check_number("momentum", momentum, 0, 1)
        self.num_negatives, self.momentum = num_negatives, momentum
        self.exclude_own, self.seed = exclude_own, seed
        self.register_buffer(
            "bank", functional.normalize(torch.randn(facts.num_images, dim), dim=1)
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._staged: list[tuple[Tensor, Tensor]] = []

    def negatives(self, query: Tensor, key: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities to the own slot and to others.

        Returns:
            pos (N,), and neg: (N, num_negatives), or (N, num_images) with -inf at the own slot.
        """
        query = functional.normalize(at_least_float32(query), dim=1)
        bank = self.bank.to(query.dtype)
        with torch.autocast(query.device.type, enabled=False):
            pos = (query * bank[index]).sum(dim=1)
            if self.num_negatives is None:
                return pos, (query @ bank.T).scatter(1, index[:, None], -float("inf"))
            drawn = self._draw(index, self.num_negatives)
            neg = _similarities(query, bank, drawn)
            is_own = drawn == index[:, None]
            return pos, neg.masked_fill(is_own, -float("inf")) if self.exclude_own else neg

    def _draw(self, index: Tensor, count: int) -> Tensor:
        numbers = uniform((self.steps << 32) + index, count, BANK_STREAM, self.seed)
        return (numbers * len(self.bank)).long()

    @torch.no_grad()
    def push(self, key: Tensor, index: Tensor) -> None:
        """Stage the embeddings of all ranks; `update` moves their slots."""
        key = functional.normalize(at_least_float32(key.detach()), dim=1)
        self._staged.append((all_gather(key), all_gather(index)))

    @torch.no_grad()
    def update(self) -> None:
        """Update the slots of staged images; an image seen twice counts by its mean embedding."""
        keys, index = (torch.cat(parts) for parts in zip(*self._staged, strict=True))
        self._staged = []
        same = (index[:, None] == index[None, :]).to(keys.dtype)
        mean = (same @ keys / same.sum(dim=1, keepdim=True)).to(self.bank.dtype)
        moved = self.bank[index].lerp(mean, 1 - self.momentum)
        self.bank.index_copy_(0, index, functional.normalize(moved, dim=1))
        self.steps += 1


def _similarities(query: Tensor, bank: Tensor, drawn: Tensor) -> Tensor:
    """Each query (N, D) with its own rows `drawn` (N, K) of the bank, with the least memory."""
    if len(bank) <= drawn.shape[1] * bank.shape[1]:
        return (query @ bank.T).gather(1, drawn)
    return (bank[drawn] @ query[:, :, None]).squeeze(2)
