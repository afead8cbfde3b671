"""The figures of the README: `python docs/figures/make.py`, after `make demo`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ssl_zoo.data.datasets.drawn_shapes import draw_shapes

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "runs" / "demo" / "figures"
ROWS, SCALE, GAP = 6, 2, 4


def shapes_grid() -> Image.Image:
    """One column per class, `ROWS` samples each."""
    images, _ = draw_shapes(torch.arange(10 * ROWS), seed=0)
    side = 32 * SCALE + GAP
    sheet = np.full((ROWS * side + GAP, 10 * side + GAP, 3), 255, np.uint8)
    for i, image in enumerate(images):
        top, left = GAP + i // 10 * side, GAP + i % 10 * side
        pixels = image.permute(1, 2, 0).numpy().repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        sheet[top : top + 32 * SCALE, left : left + 32 * SCALE] = pixels
    return Image.fromarray(sheet)


if __name__ == "__main__":
    shapes_grid().save(HERE / "shapes.png")
    for name in ("views", "curves"):
        shutil.copy(DEMO / f"{name}.png", HERE / f"demo_{name}.png")
