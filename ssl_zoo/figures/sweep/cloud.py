"""Two numbers that were drawn at random: a point for each setting."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl_zoo.figures.canvas import GREY, RED, panel
from ssl_zoo.figures.sweep.scale import set_scale_of
from ssl_zoo.figures.sweep.swept import Swept, number_of, place_of, runs_in_words


def draw_cloud(
    settings: Sequence[Swept],
    knobs: Sequence[str],
    label: str,
    best: Swept | None,
    log: Collection[str],
) -> Figure:
    """Values that were drawn: a point each, its colour the score."""
    figure, axis = panel(6.4, 4.4)
    points = np.array([[place_of(setting, knob) for knob in knobs] for setting in settings])
    has_score = np.array([setting.mean is not None for setting in settings])
    means = [setting.mean for setting in settings if setting.mean is not None]
    _points(axis, points[~has_score], color=GREY, marker="x", label="no score")
    x, y = points[has_score].T
    dots = axis.scatter(x, y, c=means, s=42, cmap="viridis", edgecolors="none")
    if best is not None:
        ring = {"s": 150, "facecolors": "none", "edgecolors": RED, "linewidths": 2}
        score = f"best: {number_of(settings)(best.mean or 0.0)}, {runs_in_words([best])}"
        _points(axis, points[[settings.index(best)]], label=score, **ring)
    figure.colorbar(dots, ax=axis, label=label, pad=0.02)
    for which, knob in zip("xy", knobs, strict=True):
        set_scale_of(axis, which, [setting.values[knob] for setting in settings], knob in log)
    axis.set(xlabel=knobs[0], ylabel=knobs[1])
    axis.grid(alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return figure


def _points(axis: Axes, points: NDArray[np.float64], **style: Any) -> None:
    if len(points):
        axis.scatter(points[:, 0], points[:, 1], **style)
