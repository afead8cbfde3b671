"""Figures of a training run: views and curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from ssl_zoo.figures.canvas import show_image, subplots
from ssl_zoo.metric_names import METRICS


def draw_views(images: Tensor, views: Sequence[Tensor], mean: Tensor, std: Tensor) -> Figure:
    """A grid: each row is an image and its views.

    Args:
        images: (N, 3, H, W) uint8, or an empty tensor if workers have cropped already.
        views: V tensors (N, 3, S, S), normalised.
        mean: (3, 1, 1), which undoes the normalisation.
        std: (3, 1, 1).
    """
    columns = [[image for image in images]] if len(images) else []
    columns += [[v * std + mean for v in view] for view in views]
    titles = (["image"] if len(images) else []) + [f"view {i + 1}" for i in range(len(views))]
    rows = min(8, len(columns[0]))
    figure, axes = subplots(len(columns), rows, (1.3 * rows, 1.45 * len(columns)))
    for line, column, title in zip(axes, columns, titles, strict=True):
        for axis, picture in zip(line, column[:rows], strict=True):
            show_image(axis, picture)
        line[0].set_ylabel(title)
    return figure


def draw_curves(curves: dict[str, list[tuple[int, float]]]) -> Figure:
    """The run's curves over optimizer steps, one panel per quantity.

    Args:
        curves: For each metric name its (step, value) pairs.
    """
    panels = _panels(curves)
    columns = 3
    rows = max(1, -(-len(panels) // columns))
    figure, axes = subplots(rows, columns, (4 * columns, 2.6 * rows))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        for name in names:
            steps, values = zip(*curves[name], strict=True)
            axis.plot(steps, values, label=name, marker="." if len(steps) < 30 else None)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if len(names) > 1:
            axis.legend()
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
