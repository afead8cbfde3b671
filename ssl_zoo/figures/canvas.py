"""Shared by all figures: a canvas without a display, colours, readable names, the file."""

from __future__ import annotations

import re
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray

from ssl_zoo.console import info

if TYPE_CHECKING:  # the picture of a sweep needs no torch
    from torch import Tensor

# Colours that colour-blind people tell apart (Okabe and Ito 2008), without the yellow.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, RED, BLACK = "#56B4E9", "#D55E00", "#000000"
COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK)
GREY = "0.65"

_NAME_LENGTH = 24
_GLYPH = r"Glyph (\d+) .*missing from"


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
    """Write a PNG and return its path; letters are drawn in any installed font that has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if missing := _write(figure, path):
        fonts = _fonts_with(missing)
        for text in figure.findobj(Text):
            text.set_fontfamily([*text.get_fontfamily(), *fonts])
        if fonts:
            missing = _write(figure, path)
        if missing:
            _say_missing(missing)
    return path


def _write(figure: Figure, path: Path) -> str:
    """Write it, and return the letters that its fonts lack, which are drawn as boxes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", _GLYPH)
        figure.tight_layout()
        figure.savefig(path, dpi=120, bbox_inches="tight")
    lacking = set()
    for one in caught:
        if found := re.match(_GLYPH, str(one.message)):
            lacking.add(chr(int(found[1])))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return "".join(sorted(lacking))


@cache
def _fonts_with(letters: str) -> tuple[str, ...]:
    """Families of installed fonts which together have as many of the letters as can be had."""
    fonts: list[str] = []
    wanted = set(letters)
    installed = font_manager.fontManager.ttflist
    for entry in sorted(installed, key=lambda one: (one.style != "normal", one.name)):
        if not wanted or entry.name.startswith("Last Resort"):  # which has boxes for all letters
            continue
        try:
            has = font_manager.get_font(entry.fname).get_charmap().keys()
        except (RuntimeError, OSError):  # a font of bitmaps in colour, or one that is gone
            continue
        if found := {letter for letter in wanted if ord(letter) in has}:
            fonts.append(entry.name)
            wanted -= found
    return tuple(fonts)


@cache
def _say_missing(letters: str) -> None:
    info(
        f"pictures: no installed font has {letters[:20]}: boxes stand for them, and the tables "
        "have them (Debian: apt-get install fonts-noto-cjk, for Chinese, Japanese and Korean)"
    )
