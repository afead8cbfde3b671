"""Images of large or mixed sizes, in files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_zoo.data import decode


@dataclass(frozen=True, eq=False)
class FileImages:
    """Images of large or mixed sizes, decoded one by one when they are needed.

    Attributes:
        paths: N image files.
        labels: (N,) int64, -1 = unlabelled.
    """

    paths: list[str]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, index: Tensor) -> FileImages:
        """The images at `index`, an int64 tensor."""
        return FileImages([self.paths[i] for i in index.tolist()], self.labels[index])

    def load(self, i: int) -> Tensor:
        """Decodes image i to a uint8 tensor (3, H, W).

        Raises:
            UserError: The file does not decode; the line names it.
        """
        return torch.from_numpy(decode.decode(self.paths[i])).permute(2, 0, 1).contiguous()
