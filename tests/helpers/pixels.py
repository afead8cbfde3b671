"""Pixels to write into image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 6, 10


def noise(*shape: int, high: int = 256, dtype: type = np.uint8) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def smooth() -> NDArray[np.uint8]:
    """A 48x80 image that JPEG keeps within a few units."""
    y, x = np.mgrid[0:48, 0:80]
    return np.stack([x * 3, y * 5, 255 - x * 2 - y], axis=2).astype(np.uint8)


def save(path: Path, mode: str, array: NDArray[np.generic], **options: Any) -> Path:
    image = Image.fromarray(array)
    assert image.mode == mode
    image.save(path, **options)
    return path
