"""One swept number: a curve over it, one for each choice beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ssl_zoo.figures.canvas import COLORS, GREY, panel
from ssl_zoo.figures.sweep.scale import set_scale_of
from ssl_zoo.figures.sweep.swept import DOT, Swept, limits_of, marks_in_words, place_of

_MOST_JOINED = 24  # points that a line joins


def draw_curves(by_choice: Mapping[str, list[Swept]], knob: str, label: str, log: bool) -> Figure:
    """Means over the number, one color for each choice."""
    figure, axis = panel(6.4, 4.2)
    settings = [setting for group in by_choice.values() for setting in group]
    for i, (name, group) in enumerate(by_choice.items()):
        _draw_curve(axis, group, knob, name, i - (len(by_choice) - 1) / 2, COLORS[i])
    lost = any(setting.mean is None for setting in settings)
    if lost:
        axis.plot([], [], "x", color=GREY, label="no score")
    set_scale_of(axis, "x", [setting.values[knob] for setting in settings], log)
    if limits := limits_of(settings):
        axis.set_ylim(*limits)
    axis.set(xlabel=knob, ylabel=label)
    axis.set_title(marks_in_words(settings), fontsize=9)
    axis.grid(alpha=0.3)
    if len(by_choice) > 1 or lost:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _draw_curve(
    axis: Axes, group: Sequence[Swept], knob: str, name: str, place: float, color: str
) -> None:
    """Seeds as dots, means and intervals, a little aside from those of other curves."""
    aside = ScaledTranslation(5 * place / 72, 0, axis.figure.dpi_scale_trans)
    style: dict[str, Any] = {"color": color, "transform": axis.transData + aside}
    scored = sorted((s for s in group if s.mean is not None), key=lambda s: place_of(s, knob))
    means = [setting.mean or 0.0 for setting in scored]
    line = "-" if len(scored) <= _MOST_JOINED else "none"  # values that were drawn go up and down
    x = [place_of(setting, knob) for setting in scored]
    axis.plot(x, means, linestyle=line, marker="_", label=name or None, **style)
    for setting in scored:
        seeds = setting.scores
        axis.plot([place_of(setting, knob)] * len(seeds), seeds, **DOT, **style)
        if setting.interval:
            axis.plot([place_of(setting, knob)] * 2, setting.interval, linewidth=1, **style)
    lost = [place_of(setting, knob) for setting in group if setting.mean is None]
    bottom = axis.get_xaxis_transform() + aside  # y as a part of the panel's height
    axis.plot(lost, [0.03] * len(lost), "x", color=color, transform=bottom)
