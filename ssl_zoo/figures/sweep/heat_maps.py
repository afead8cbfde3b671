"""Two swept numbers: a heat map of the means, one for each choice beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ssl_zoo.console import as_number, short_values
from ssl_zoo.figures.canvas import GREY, RED, subplots
from ssl_zoo.figures.sweep.swept import Swept, number_of, place_of, runs_in_words

_MOST_CELLS = 12  # on a side of a heat map whose cells have their number


def draw_heat_maps(
    by_choice: Mapping[str, list[Swept]], knobs: Sequence[str], label: str, best: Swept | None
) -> Figure:
    """The first knob to the right, the second one upwards; a panel for each choice."""
    settings = [setting for group in by_choice.values() for setting in group]
    columns, rows = _axes_of(settings, knobs)
    width, height = (min(7.0, 1.6 + 0.65 * len(values)) for values in (columns, rows))
    figure, axes = subplots(1, len(by_choice), (width * len(by_choice) + 1, height + 0.4))
    figure.set_layout_engine("constrained")
    means = [setting.mean for setting in settings if setting.mean is not None] or [0.0]
    as_text, middle = number_of(settings), (min(means) + max(means)) / 2
    for axis, (name, group) in zip(axes.flat, by_choice.items(), strict=True):
        grid = np.full((len(rows), len(columns)), np.nan)
        for setting in group:
            place = (
                rows.index(place_of(setting, knobs[1])),
                columns.index(place_of(setting, knobs[0])),
            )
            grid[place] = np.nan if setting.mean is None else setting.mean
            if len(columns) <= _MOST_CELLS:
                dark = setting.mean is not None and setting.mean < middle
                color = "white" if dark else "black"
                text = _cell(setting, as_text)
                axis.text(*place[::-1], text, ha="center", va="center", fontsize=7, color=color)
            if setting is best:
                corner = (place[1] - 0.5, place[0] - 0.5)
                axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RED, linewidth=2.5))
        axis.set_facecolor(GREY)  # shows through where there is no value
        image = axis.imshow(
            grid, origin="lower", aspect="auto", vmin=min(means), vmax=max(means), cmap="viridis"
        )
        _name_cells(axis, settings, knobs, (columns, rows))
        axis.set_title(name, fontsize=9)
    figure.colorbar(image, ax=list(axes.flat), label=label, pad=0.02)
    spread = " ± half of its 95% interval" if any(s.interval for s in settings) else ""
    figure.suptitle(f"mean{spread}, {runs_in_words(settings)}; framed: the best mean", fontsize=9)
    return figure


def _axes_of(settings: Sequence[Swept], knobs: Sequence[str]) -> list[list[float]]:
    """The values of each knob, ascending."""
    return [sorted({place_of(setting, knob) for setting in settings}) for knob in knobs]


def is_grid(settings: Sequence[Swept], knobs: Sequence[str]) -> bool:
    """Whether at least half of the cells have a setting, as not if values were drawn."""
    columns, rows = _axes_of(settings, knobs)
    return len(settings) >= len(columns) * len(rows) / 2


def _cell(setting: Swept, as_text: Callable[[float], str]) -> str:
    """The mean, and below it half of its interval."""
    if setting.mean is None:
        return "no score"
    if setting.interval is None:
        return as_text(setting.mean)
    return f"{as_text(setting.mean)}\n±{as_text(setting.interval[1] - setting.mean)}"


def _name_cells(
    axis: Axes,
    settings: Sequence[Swept],
    knobs: Sequence[str],
    values: tuple[Sequence[float], Sequence[float]],
) -> None:
    """A tick for each row and column, or for some of them."""
    for knob, places, ticks in zip(knobs, values, (axis.xaxis, axis.yaxis), strict=True):
        typed = [setting.values[knob] for setting in settings]
        short = dict(zip(map(as_number, typed), short_values(typed), strict=True))
        at = range(0, len(places), -(-len(places) // _MOST_CELLS))
        ticks.set_ticks(at, [short[places[i]] for i in at], fontsize=8)
        ticks.set_label_text(knob)
