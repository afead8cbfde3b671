"""The picture of a sweep: a curve, heat maps, a cloud of points, or a row for each setting."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from os.path import commonprefix
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from ssl_zoo.console import as_number, short_values
from ssl_zoo.figures.canvas import BLUE, COLORS, GREY, RED, panel, readable, subplots

_MOST_CURVES = len(COLORS)
_MOST_PANELS = 4
_MOST_CELLS = 12  # on a side of a heat map whose cells have their number
_MOST_TICKS = 8  # swept values that each have a tick
_MOST_JOINED = 24  # points that a line joins
_MOST_ROWS = 60
_DECADE = 10.0  # values that span it are on a log axis
_LONGEST = 48  # letters of a row's label
_MARGIN = 0.6  # of the scores' range: an interval that ends further away runs out of the picture
_DOT: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 4, "alpha": 0.5}


class Swept(NamedTuple):
    """A setting of a sweep.

    Attributes:
        values: What it is, by knob, as typed; the same knobs in all settings.
        scores: Of its runs, one for each seed, as they are to be shown.
        mean: Of them; None if there are none.
        interval: Of the mean.
        runs: How many it has, also those without a score.
    """

    values: Mapping[str, str]
    scores: Sequence[float]
    mean: float | None
    interval: tuple[float, float] | None
    runs: int


def draw_sweep(
    settings: Sequence[Swept], label: str, lowest: bool = False, log: Collection[str] = ()
) -> Figure:
    """One swept number is a curve, two are heat maps; anything else is a row for each setting.

    Args:
        settings: At least one.
        label: Of the scores.
        lowest: Whether a lower score is better.
        log: The knobs that were drawn on a log scale.
    """
    numbers = [knob for knob in settings[0].values if _is_number(settings, knob)]
    by_choice = _by_choice(settings, numbers)
    if len(numbers) == 1 and len(by_choice) <= _MOST_CURVES:
        return _draw_curves(by_choice, numbers[0], label, numbers[0] in log)
    if len(numbers) == 2 and len(by_choice) <= _MOST_PANELS:
        scored = [s for s in settings if s.mean is not None]
        best = min(scored, key=lambda s: _rank(s, lowest)) if scored else None
        if all(_is_grid(group, numbers) for group in by_choice.values()):
            return _draw_heat_maps(by_choice, numbers, label, best)
        if len(by_choice) == 1:
            return _draw_cloud(settings, numbers, label, best, log)
    return _draw_rows(settings, label, lowest)


def _is_number(settings: Sequence[Swept], knob: str) -> bool:
    values = {as_number(setting.values[knob]) for setting in settings}
    return None not in values and len(values) > 1


def _by_choice(settings: Sequence[Swept], numbers: Collection[str]) -> dict[str, list[Swept]]:
    """The settings by all that is not a swept number, in words."""
    names = _names(settings, [knob for knob in settings[0].values if knob not in numbers])
    found: dict[str, list[Swept]] = {}
    for name, setting in zip(names, settings, strict=True):
        found.setdefault(name, []).append(setting)
    return found


def _names(settings: Sequence[Swept], knobs: Sequence[str]) -> list[str]:
    """Each setting's values of these knobs in a few words."""
    columns = [_few_letters([setting.values[knob] for setting in settings]) for knob in knobs]
    names = [", ".join(part for part in parts if part) for parts in zip(*columns, strict=True)]
    names = names or [""] * len(settings)
    return [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]


def _few_letters(values: Sequence[str]) -> list[str]:
    """Values without what long ones have in common, such as the folder of paths."""
    long = max(map(len, values)) > 20
    start = commonprefix(list(values)) if long else ""  # noqa: RUF071 - cut at a separator below
    cut = max(start.rfind(letter) for letter in "/.") + 1
    shown = [value[cut:] for value in values] if cut > 8 else short_values(values)
    return [readable(value).strip() for value in shown]


def _short(knob: str) -> str:
    """A knob's last part."""
    return knob.replace("/", ".").rpartition(".")[2]


def _rank(setting: Swept, lowest: bool) -> tuple[bool, float]:
    """The best first, those without a score last."""
    mean = 0.0 if setting.mean is None else setting.mean
    return setting.mean is None, mean if lowest else -mean


def _limits(settings: Sequence[Swept]) -> tuple[float, float] | None:
    """Of the axis of scores: wide intervals of two seeds must not hide what the seeds scored."""
    scores = [score for setting in settings for score in setting.scores]
    if not scores:
        return None
    low, high = min(scores), max(scores)
    most = _MARGIN * (high - low or abs(high) / 10 or 1)
    ends = [end for setting in settings for end in setting.interval or ()]
    below = min(most, low - min([low, *ends]))
    above = min(most, max([high, *ends]) - high)
    pad = 0.15 * most
    return low - below - pad, high + above + pad


def _marks(settings: Sequence[Swept]) -> str:
    """What the marks are, in words."""
    limits = _limits(settings)
    if limits is None or all(len(setting.scores) <= 1 for setting in settings):
        return "one run" if len(settings) == 1 else "one run each"
    ends = [end for setting in settings for end in setting.interval or ()]
    cut = ", cut at the frame" if min(ends) < limits[0] or max(ends) > limits[1] else ""
    return f"dots: seeds; bar: mean and 95% interval{cut}"


# ---- one number ----


def _draw_curves(by_choice: Mapping[str, list[Swept]], knob: str, label: str, log: bool) -> Figure:
    figure, axis = panel(6.4, 4.2)
    settings = [setting for group in by_choice.values() for setting in group]
    for i, (name, group) in enumerate(by_choice.items()):
        _draw_curve(axis, group, knob, name, i - (len(by_choice) - 1) / 2, COLORS[i])
    lost = any(setting.mean is None for setting in settings)
    if lost:
        axis.plot([], [], "x", color=GREY, label="no score")
    _scale(axis, "x", [setting.values[knob] for setting in settings], log)
    if limits := _limits(settings):
        axis.set_ylim(*limits)
    axis.set(xlabel=knob, ylabel=label)
    axis.set_title(_marks(settings), fontsize=9)
    axis.grid(alpha=0.3)
    if len(by_choice) > 1 or lost:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return figure


def _x(setting: Swept, knob: str) -> float:
    return as_number(setting.values[knob]) or 0.0


def _draw_curve(
    axis: Axes, group: Sequence[Swept], knob: str, name: str, place: float, color: str
) -> None:
    """Seeds as dots, means and intervals, a little aside from those of other curves."""
    aside = ScaledTranslation(5 * place / 72, 0, axis.figure.dpi_scale_trans)
    style: dict[str, Any] = {"color": color, "transform": axis.transData + aside}
    scored = sorted((s for s in group if s.mean is not None), key=lambda s: _x(s, knob))
    means = [setting.mean or 0.0 for setting in scored]
    line = "-" if len(scored) <= _MOST_JOINED else "none"  # values that were drawn go up and down
    x = [_x(setting, knob) for setting in scored]
    axis.plot(x, means, linestyle=line, marker="_", label=name or None, **style)
    for setting in scored:
        seeds = setting.scores
        axis.plot([_x(setting, knob)] * len(seeds), seeds, **_DOT, **style)
        if setting.interval:
            axis.plot([_x(setting, knob)] * 2, setting.interval, linewidth=1, **style)
    lost = [_x(setting, knob) for setting in group if setting.mean is None]
    bottom = axis.get_xaxis_transform() + aside  # y as a part of the panel's height
    axis.plot(lost, [0.03] * len(lost), "x", color=color, transform=bottom)


def _scale(axis: Axes, which: str, typed: Sequence[str], log: bool) -> None:
    """A log axis where the sweep was log or the values span a decade; a tick at each of a few."""
    short = {as_number(text): one for text, one in zip(typed, short_values(typed), strict=True)}
    values = sorted(value for value in short if value is not None)
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and positive[-1] / positive[0] >= _DECADE
    set_scale = axis.set_xscale if which == "x" else axis.set_yscale
    set_limits = axis.set_xlim if which == "x" else axis.set_ylim
    if values[0] > 0 and (log or wide):
        set_scale("log")
    elif values[0] == 0 and wide:  # a 0 beside them, such as a weight decay's
        set_scale("symlog", linthresh=positive[0])
    scale = (axis.xaxis if which == "x" else axis.yaxis).get_transform()
    places = scale.transform(np.array(values))
    pad = 0.06 * (places[-1] - places[0])
    set_limits(*scale.inverted().transform(np.array([places[0] - pad, places[-1] + pad])))
    _ticks(axis, which, {value: short[value] for value in values}, places)


def _ticks(
    axis: Axes, which: str, labels: Mapping[float, str], places: NDArray[np.float64]
) -> None:
    """At the swept values, where these are few and apart."""
    ticks = axis.xaxis if which == "x" else axis.yaxis
    apart = all(b - a >= (places[-1] - places[0]) / 12 for a, b in pairwise(places))
    if len(labels) <= _MOST_TICKS and apart:
        ticks.set_ticks(list(labels), list(labels.values()))
        ticks.set_minor_locator(NullLocator())
        return
    ticks.set_major_formatter(lambda value, _: short_values([f"{value:.6g}"])[0])
    ticks.set_minor_formatter(NullFormatter())


# ---- two numbers ----


def _axes_of(settings: Sequence[Swept], knobs: Sequence[str]) -> list[list[float]]:
    """The values of each knob, ascending."""
    return [sorted({_x(setting, knob) for setting in settings}) for knob in knobs]


def _is_grid(settings: Sequence[Swept], knobs: Sequence[str]) -> bool:
    """Whether at least half of the cells have a setting, as not if values were drawn."""
    columns, rows = _axes_of(settings, knobs)
    return len(settings) >= len(columns) * len(rows) / 2


def _draw_heat_maps(
    by_choice: Mapping[str, list[Swept]], knobs: Sequence[str], label: str, best: Swept | None
) -> Figure:
    """The first knob to the right, the second one upwards; a panel for each choice."""
    settings = [setting for group in by_choice.values() for setting in group]
    columns, rows = _axes_of(settings, knobs)
    width, height = (min(7.0, 1.6 + 0.65 * len(values)) for values in (columns, rows))
    figure, axes = subplots(1, len(by_choice), (width * len(by_choice) + 1, height + 0.4))
    figure.set_layout_engine("constrained")
    means = [setting.mean for setting in settings if setting.mean is not None] or [0.0]
    as_text, middle = _number_of(settings), (min(means) + max(means)) / 2
    for axis, (name, group) in zip(axes.flat, by_choice.items(), strict=True):
        grid = np.full((len(rows), len(columns)), np.nan)
        for setting in group:
            place = rows.index(_x(setting, knobs[1])), columns.index(_x(setting, knobs[0]))
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
    figure.suptitle(f"mean{spread}, {_n(settings)}; framed: the best mean", fontsize=9)
    return figure


def _cell(setting: Swept, as_text: Callable[[float], str]) -> str:
    """The mean, and below it half of its interval."""
    if setting.mean is None:
        return "no score"
    if setting.interval is None:
        return as_text(setting.mean)
    return f"{as_text(setting.mean)}\n±{as_text(setting.interval[1] - setting.mean)}"


def _n(settings: Sequence[Swept]) -> str:
    """How many runs a mean is of: n = 3, or n = 2 to 3."""
    counts = [len(setting.scores) for setting in settings if setting.scores] or [0]
    few, many = min(counts), max(counts)
    return f"n = {few}" if few == many else f"n = {few} to {many}"


def _number_of(settings: Sequence[Swept]) -> Callable[[float], str]:
    """How these scores are written: with one decimal, or with three digits where all are small."""
    large = any(abs(score) >= 10 for setting in settings for score in setting.scores)
    return lambda score: f"{score:.1f}" if large else f"{score:.3g}"


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


def _draw_cloud(
    settings: Sequence[Swept],
    knobs: Sequence[str],
    label: str,
    best: Swept | None,
    log: Collection[str],
) -> Figure:
    """Values that were drawn: a point each, its colour the score."""
    figure, axis = panel(6.4, 4.4)
    points = np.array([[_x(setting, knob) for knob in knobs] for setting in settings])
    has_score = np.array([setting.mean is not None for setting in settings])
    means = [setting.mean for setting in settings if setting.mean is not None]
    _points(axis, points[~has_score], color=GREY, marker="x", label="no score")
    x, y = points[has_score].T
    dots = axis.scatter(x, y, c=means, s=42, cmap="viridis", edgecolors="none")
    if best is not None:
        ring = {"s": 150, "facecolors": "none", "edgecolors": RED, "linewidths": 2}
        score = f"best: {_number_of(settings)(best.mean or 0.0)}, {_n([best])}"
        _points(axis, points[[settings.index(best)]], label=score, **ring)
    figure.colorbar(dots, ax=axis, label=label, pad=0.02)
    for which, knob in zip("xy", knobs, strict=True):
        _scale(axis, which, [setting.values[knob] for setting in settings], knob in log)
    axis.set(xlabel=knobs[0], ylabel=knobs[1])
    axis.grid(alpha=0.3)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    return figure


def _points(axis: Axes, points: NDArray[np.float64], **style: Any) -> None:
    if len(points):
        axis.scatter(points[:, 0], points[:, 1], **style)


# ---- anything else ----


def _draw_rows(settings: Sequence[Swept], label: str, lowest: bool) -> Figure:
    """A row for each setting, the best mean on top."""
    knobs = list(settings[0].values)
    names = dict(zip(map(id, settings), _names(settings, knobs), strict=True))
    shown = sorted(settings, key=lambda setting: _rank(setting, lowest))[:_MOST_ROWS]
    figure, axis = panel(7, 1.1 + (0.36 if len(shown) <= 12 else 0.2) * len(shown))
    size = 9 if len(shown) <= 12 else 7
    as_text, several = _number_of(shown), any(setting.runs > 1 for setting in settings)
    dots = [(score, row) for row, setting in enumerate(shown) for score in setting.scores]
    axis.plot([score for score, _ in dots], [row for _, row in dots], color=BLUE, **_DOT)
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
    if limits := _limits(shown):
        axis.set_xlim(*limits)
    else:
        axis.set_xticks([])
    few = len(shown) < len(settings)
    rest = f"the best {len(shown)} of {len(settings)} settings; " if few else ""
    axis.set_title(rest + _marks(shown), fontsize=9)
    axis.set(xlabel=label, ylabel=", ".join(map(_short, knobs)))
    axis.grid(alpha=0.3)
    return figure


def _result(setting: Swept, as_text: Callable[[float], str], several: bool) -> str:
    """61.3 (n = 3); without n where no setting has several runs."""
    score = "no score" if setting.mean is None else as_text(setting.mean)
    n = len(setting.scores)
    count = f" (n = {n})" if n == setting.runs else f" (n = {n} of {setting.runs})"
    return score + count if several else score
