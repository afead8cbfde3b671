"""A support set: embeddings of past batches, in which others find their nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ssl_zoo.hardware import at_least_float32
from ssl_zoo.modules.negatives import Queue


class SupportSet(Queue):
    """The embeddings of past batches, first in, first out; a look-up sees those before this step.

    Args:
        dim: Width of the embeddings.
        size: Embeddings that it holds; need not be a multiple of the batch.
        facts: Its `num_images` only serves to say that the set is longer than the data set.

    Raises:
        BadValue: If the size is below 1.

    Source: Dwibedi et al. 2021 (NNCLR), sec. 3.2. It starts as random unit vectors.
    """

    @torch.no_grad()
    def nearest(self, z: Tensor) -> Tensor:
        """The nearest neighbour of each row, by cosine: (N, D) -> (N, D), unit rows, no gradient.

        Args:
            z: (N, D).
        """
        z = functional.normalize(at_least_float32(z.detach()), dim=1)
        rows = self.queue.to(z.dtype)
        with torch.autocast(z.device.type, enabled=False):
            return rows[(z @ rows.T).argmax(dim=1)]
