"""Figures of a training run: views and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from ssl_zoo.figures.canvas import GREY, show_image, subplots
from ssl_zoo.metric_names import METRICS

MOST_ROWS = 8  # images of a picture of views


def draw_views(
    images: Sequence[Tensor], views: Sequence[Tensor], mean: Tensor, std: Tensor
) -> Figure:
    """A grid: each row is an image and its views.

    Args:
        images: (3, H, W) uint8 each, of any sizes; at most `MOST_ROWS` are drawn.
        views: V tensors (N, 3, S, S), normalised.
        mean: (3, 1, 1), which undoes the normalisation.
        std: (3, 1, 1).
    """
    columns = [list(images), *([v * std + mean for v in view] for view in views)]
    titles = ["image", *(f"view {i + 1}" for i in range(len(views)))]
    rows = min(MOST_ROWS, len(images))
    figure, axes = subplots(len(columns), rows, (1.3 * rows, 1.45 * len(columns)))
    for line, column, title in zip(axes, columns, titles, strict=True):
        for axis, picture in zip(line, column[:rows], strict=True):
            show_image(axis, picture)
        line[0].set_ylabel(title)
    return figure


def draw_curves(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    floors: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """The run's curves over epochs, one panel per quantity.

    Args:
        curves: For each metric name its (epochs done, value) pairs.
        floors: For a panel, by its title, what values are compared with, such as chance.
    """
    panels = _panels(curves)
    columns = min((3, 4), key=lambda number: -len(panels) % number)  # the fuller rows
    rows = max(1, -(-len(panels) // columns))
    figure, axes = subplots(rows, columns, (4 * columns, 3.2 * rows))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for name in names:
            epochs, values = zip(*curves[name], strict=True)
            axis.plot(epochs, values, label=name, marker="." if len(epochs) < 30 else None)
        levels = (floors or {}).get(title, {})
        for (label, value), style in zip(levels.items(), ("--", ":"), strict=False):
            axis.axhline(value, label=label, color=GREY, linestyle=style)
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
        if len(names) + len(levels) > 1:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, frameon=False)
    return figure


def _panels(names: Iterable[str]) -> dict[str, list[str]]:
    """The names in each panel that has any; groups without decay repeat their twins' rate."""
    panels: dict[str, list[str]] = {}
    for metric in METRICS:
        for name in names:
            family = metric.name.endswith("/") and name.startswith(metric.name)
            if name == metric.name or (family and not name.endswith("_no_decay")):
                panels.setdefault(metric.panel, []).append(name)
    return panels
