"""Shared by all figures: a canvas without a display, colours, readable names, the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

if TYPE_CHECKING:  # the picture of a sweep needs no torch
    from torch import Tensor

# Colours that colour-blind people tell apart (Okabe and Ito 2008), without the yellow.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, RED, BLACK = "#56B4E9", "#D55E00", "#000000"
COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK)
GREY = "0.65"

_NAME_LENGTH = 24


def subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, NDArray[Any]]:
    """A new figure, which nothing else keeps open, and its (rows, columns) axes.

    Args:
        rows: Rows of panels.
        columns: Columns of panels.
        size: Width and height in inches.
    """
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    axes: NDArray[Any] = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel; size in inches."""
    figure, axes = subplots(1, 1, (width, height))
    axis: Axes = axes[0, 0]
    return figure, axis


def show_image(axis: Axes, image: Tensor) -> None:
    """An image (3, H, W), uint8 or in [0, 1], without ticks."""
    pixels = image.float() if image.is_floating_point() else image.float() / 255
    axis.imshow(pixels.clamp(0, 1).permute(1, 2, 0).cpu().numpy())
    hide_ticks(axis)


def hide_ticks(axis: Axes) -> None:
    """No numbers on either axis."""
    axis.set_xticks([])
    axis.set_yticks([])


def readable(name: Any) -> str:
    """A name as text on one line: no formula between dollar signs, not hidden by a "_".

    It is shortened in its middle, since long names of classes often begin or end alike.
    """
    text = " ".join(str(name).split())
    if len(text) > _NAME_LENGTH:
        end = (_NAME_LENGTH - 1) // 2
        text = f"{text[: _NAME_LENGTH - 1 - end]}…{text[-end:]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Letters that matplotlib's font lacks (Chinese, emoji) become boxes; files have the names.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from")
        figure.tight_layout()
        figure.savefig(path, dpi=120, bbox_inches="tight")
    return path
