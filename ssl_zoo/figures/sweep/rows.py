"""Anything else that was swept: a row for each setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from ssl_zoo.figures.canvas import BLUE, panel
from ssl_zoo.figures.sweep.swept import (
    DOT,
    Swept,
    limits_of,
    marks_in_words,
    names_of,
    number_of,
    rank_of,
    short_knob,
)

_MOST_ROWS = 60


def draw_rows(settings: Sequence[Swept], label: str, lowest: bool) -> Figure:
    """A row for each setting, the best mean on top."""
    knobs = list(settings[0].values)
    names = dict(zip(map(id, settings), names_of(settings, knobs), strict=True))
    shown = sorted(settings, key=lambda setting: rank_of(setting, lowest))[:_MOST_ROWS]
    figure, axis = panel(7, 1.1 + (0.36 if len(shown) <= 12 else 0.2) * len(shown))
    size = 9 if len(shown) <= 12 else 7
    as_text, several = number_of(shown), any(setting.runs > 1 for setting in settings)
    dots = [(score, row) for row, setting in enumerate(shown) for score in setting.scores]
    axis.plot([score for score, _ in dots], [row for _, row in dots], color=BLUE, **DOT)
    bars = [(row, setting) for row, setting in enumerate(shown) if setting.interval]
    rows = [row for row, _ in bars]
    ends = np.array([setting.interval for _, setting in bars]).reshape(-1, 2)
    axis.hlines(rows, ends[:, 0], ends[:, 1], color=BLUE, linewidth=1.5)
    axis.plot(ends.mean(axis=1), rows, "|", color=BLUE, markersize=8)
    beside = axis.get_yaxis_transform()  # x as a part of the panel's width
    for row, setting in enumerate(shown):
        result = _result(setting, as_text, several)
        axis.text(1.01, row, result, va="center", fontsize=size, transform=beside)
    labels = [names[id(setting)] or "all runs" for setting in shown]
    axis.set_yticks(range(len(shown)), labels, fontsize=size)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    if limits := limits_of(shown):
        axis.set_xlim(*limits)
    else:
        axis.set_xticks([])
    few = len(shown) < len(settings)
    rest = f"the best {len(shown)} of {len(settings)} settings; " if few else ""
    axis.set_title(rest + marks_in_words(shown), fontsize=9)
    axis.set(xlabel=label, ylabel=", ".join(map(short_knob, knobs)))
    axis.grid(alpha=0.3)
    return figure


def _result(setting: Swept, as_text: Callable[[float], str], several: bool) -> str:
    """61.3 (n = 3); without n where no setting has several runs."""
    score = "no score" if setting.mean is None else as_text(setting.mean)
    n = len(setting.scores)
    count = f" (n = {n})" if n == setting.runs else f" (n = {n} of {setting.runs})"
    return score + count if several else score
