"""Images to augment, and the level of the statistical tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SIGNIFICANCE = 1e-3  # of each statistical test; seeds are fixed


def random_images(n: int = 6, height: int = 20, width: int = 26, seed: int = 0) -> Tensor:
    """Uint8 images with smooth and with gray, black and white parts, so that every case occurs."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)
    images[0, :, :5] = 0
    images[0, :, 5:9] = 255
    images[1:2] = images[1:2, :1]  # gray
    images[2:3] = images[2:3] // 64 * 64  # many ties between channels
    return images


def floats(n: int = 6, **kwargs: int) -> Tensor:
    return random_images(n, **kwargs).float() / 255


FULL: dict[str, Any] = {"flip": 0.5, "jitter": 0.8, "blur": 0.5, "solarize": 0.3}
