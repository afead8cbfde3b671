"""Points to draw, and the pixels of a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssl_zoo.figures import evaluation

NAN = math.nan


def blobs(count: int = 60, classes: int = 3, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Far apart on the unit sphere."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) % classes
    centers = 5 * torch.eye(max(dim, classes))[:, :dim]
    return centers[label] + 0.3 * torch.randn(count, dim, generator=generator), label


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) in pixels."""
    height, width = matplotlib.image.imread(path).shape[:2]
    return width, height


def pixels_of(figure: Figure) -> Any:
    """(H, W, 3) in [0, 1], row 0 at the bottom."""
    figure.tight_layout()
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3] / 255  # type: ignore[attr-defined]


def gallery() -> Figure:
    dark, light = torch.zeros(3, 32, 32).byte(), torch.full((3, 20, 48), 255).byte()
    neighbors = [[dark, light, dark], [light, dark]]
    return evaluation.draw_gallery([light, dark], neighbors, [[True, False, True], [False, True]])
