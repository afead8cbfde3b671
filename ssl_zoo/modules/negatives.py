"""Dictionaries: where a query's positive and negative similarities come from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.distributed import all_gather
from ssl_zoo.precision import at_least_float32


class InBatch(nn.Module):
    """The keys of the global batch are the dictionary; nothing is stored.

    Args:
        normalize: Cosine similarities (True) or dot products (SimCLR, table 5, "no").

    Source: Chen et al. 2020 (SimCLR), sec. 2.1.
    """

    def __init__(self, normalize: bool = True) -> None:
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
