"""The pictures of a study: scores with their intervals, the search, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ssl_zoo.figures.canvas import COLORS, GREY, panel, readable, subplots

_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_COLUMNS = 3  # panels beside each other
_DECADES = 1000.0  # a range below this has ticks at 2 and 5 too
_MARGIN = 0.6  # of the scores' range: wider intervals of two seeds are cut at the frame


class Bar(NamedTuple):
    """A method's scores.

    Attributes:
        name: Of the method.
        scores: Of its seeds.
        mean: Of them.
        interval: Of the mean; None of a single seed.
        gap: Mean and interval of its difference to the best method; None of that one.
    """

    name: str
    scores: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    gap: tuple[float, tuple[float, float] | None] | None


class Point(NamedTuple):
    """A trial.

    Attributes:
        method: Whose it is.
        values: Of the knobs that are numbers.
        score: On val; None of a run without one.
        is_selected: Whether the method goes on with it.
    """

    method: str
    values: Mapping[str, float]
    score: float | None
    is_selected: bool


class Range(NamedTuple):
    """Where a knob was drawn from.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether on a log scale.
    """

    low: float
    high: float
    log: bool


def style_of(number: int) -> tuple[str, str, str]:
    """Colour, line and mark of a method, by its place: 28 of them differ."""
    turn = number // len(COLORS)
    color = COLORS[number % len(COLORS)]
    return color, _STYLES[turn % len(_STYLES)], _MARKERS[(number + 3 * turn) % len(_MARKERS)]


def draw_scores(bars: Sequence[Bar], levels: Mapping[str, float], label: str) -> Figure:
    """A row for each method, the best on top; to the right its difference to the best.

    Args:
        bars: Of the methods, the best first.
        levels: Floors and the ceiling, by name.
        label: Of the scores.
    """
    height = 1.5 + 0.36 * len(bars) + 0.2 * (len(levels) > 2)
    figure, axes = subplots(1, 2, (10, height))
    left, right = axes[0]
    for row, bar in enumerate(bars):
        left.plot(bar.scores, [row] * len(bar.scores), "o", color=COLORS[0], alpha=0.45, ms=4)
        left.plot([bar.mean], [row], "|", color=COLORS[0], markersize=13, markeredgewidth=2)
        if bar.interval:
            left.hlines(row, *bar.interval, color=COLORS[0], linewidth=1.6)
        if bar.gap:
            right.plot([bar.gap[0]], [row], "|", color=COLORS[5], markersize=13, markeredgewidth=2)
            if bar.gap[1]:
                right.hlines(row, *bar.gap[1], color=COLORS[5], linewidth=1.6)
    lines = cycle(("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2))))
    for (name, level), line in zip(levels.items(), lines, strict=False):
        left.axvline(level, color=GREY, linestyle=line, label=readable(name), zorder=0)
    right.axvline(0, color=GREY, zorder=0)
    _limit(left, [s for bar in bars for s in bar.scores], list(levels.values()))
    _limit(right, [0.0, *(bar.gap[0] for bar in bars if bar.gap)], [])
    for axis in (left, right):
        axis.set_yticks(range(len(bars)), [readable(bar.name) for bar in bars])
        axis.set_ylim(len(bars) - 0.5, -0.5)
        axis.grid(alpha=0.3, axis="x")
    right.set_yticklabels([])
    left.set(xlabel=label)
    right.set(xlabel="behind the best mean")
    if levels:
        place = {"loc": "upper left", "bbox_to_anchor": (0, -0.7 / (height - 0.7))}
        left.legend(**place, frameon=False, fontsize=8, ncols=4)
    return figure


def _limit(axis: Axes, values: Sequence[float], levels: Sequence[float]) -> None:
    """The scores fill the panel; what lies further away runs out of it."""
    low, high = min(values), max(values)
    pad = _MARGIN * (high - low or abs(high) / 10 or 1)
    drawn = axis.dataLim.intervalx
    start = min([max(low - pad, min(drawn)), *levels])
    end = max([min(high + pad, max(drawn)), *levels])
    axis.set_xlim(start - 0.1 * pad, end + 0.1 * pad)


def draw_best_of_k(curves: Mapping[str, Sequence[float]], label: str) -> Figure:
    """The expected best of k trials."""
    figure, axis = panel(7, 4.2)
    for i, (name, values) in enumerate(curves.items()):
        color, line, mark = style_of(i)
        k = range(1, len(values) + 1)
        shown = mark if len(values) <= 12 else None
        axis.plot(k, values, color=color, linestyle=line, marker=shown, ms=4, label=readable(name))
    axis.set(xlabel="trials", ylabel=label)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axis)
    return figure


def draw_trials(points: Sequence[Point], ranges: Mapping[str, Range], label: str) -> Figure:
    """A panel for each knob: its values against the score; rings are what was selected.

    Args:
        points: The trials.
        ranges: Of the knobs that are numbers.
        label: Of the scores.
    """
    methods = list(dict.fromkeys(point.method for point in points))
    columns = min(_COLUMNS, len(ranges))
    rows = -(-len(ranges) // columns)
    figure, axes = subplots(rows, columns, (4 * columns + 1.5, 3.1 * rows + 0.4))
    scores = [point.score for point in points if point.score is not None]
    for axis in axes.flat[len(ranges) :]:
        axis.set_visible(False)
    for axis, (knob, given) in zip(axes.flat, ranges.items(), strict=False):
        _span(axis, given)
        for i, method in enumerate(methods):
            _points(axis, [p for p in points if p.method == method], knob, style_of(i))
        axis.set_xlabel(readable(knob) if len(knob) <= 24 else f"…{readable(knob[-23:])}")
        if scores:
            pad = 0.08 * (max(scores) - min(scores) or 0.1)
            axis.set_ylim(min(scores) - 2 * pad, max(scores) + pad)
        axis.grid(alpha=0.3)
    for line in axes:
        line[0].set_ylabel(label)
    _method_legend(figure, methods)
    return figure


def _span(axis: Axes, given: Range) -> None:
    """All of a range, so that its edges are seen."""
    if given.log:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
    if given.log and given.high / given.low < _DECADES:  # few powers of 10 lie in it
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=9))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    to_scale = axis.xaxis.get_transform()
    low, high = to_scale.transform(np.array([given.low, given.high]))
    pad = 0.04 * (high - low or 1)
    axis.set_xlim(*to_scale.inverted().transform(np.array([low - pad, high + pad])))


def _points(axis: Axes, points: Sequence[Point], knob: str, style: tuple[str, str, str]) -> None:
    color, _, mark = style
    own = [point for point in points if knob in point.values]
    known = [(p.values[knob], p.score, p.is_selected) for p in own if p.score is not None]
    x, y = [x for x, _, _ in known], [y for _, y, _ in known]
    axis.plot(x, y, mark, color=color, ms=5, alpha=0.75)
    rings = [(x, y) for x, y, selected in known if selected]
    ring: dict[str, Any] = {"ms": 12, "mfc": "none", "mec": color, "mew": 1.6, "linestyle": "none"}
    axis.plot([x for x, _ in rings], [y for _, y in rings], marker="o", **ring)
    lost = [point.values[knob] for point in own if point.score is None]
    bottom = axis.get_xaxis_transform()  # y as a part of the panel's height
    axis.plot(lost, [0.03] * len(lost), "x", color=color, ms=5, transform=bottom)


def _method_legend(figure: Figure, methods: Sequence[str]) -> None:
    first: Axes = figure.axes[0]
    marks = []
    for i, method in enumerate(methods):
        color, _, mark = style_of(i)
        marks += first.plot([], [], mark, color=color, ms=5, label=readable(method))
    marks += first.plot([], [], "o", mfc="none", mec=GREY, ms=10, label="selected")
    marks += first.plot([], [], "x", color=GREY, ms=5, label="no score")
    figure.legend(
        handles=marks,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        ncols=min(6, len(marks)),
        frameon=False,
    )


def draw_learning(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]], across: str, label: str
) -> Figure:
    """The learning curves of the final runs: thin lines are seeds, the thick one is their mean.

    Args:
        curves: By method, of each seed its (place, value) pairs.
        across: What the place is.
        label: Of the values.
    """
    figure, axis = panel(7.5, 4.4)
    for i, (name, seeds) in enumerate(curves.items()):
        color, line, _ = style_of(i)
        for points in seeds if len(seeds) > 1 else []:
            axis.plot(*zip(*points, strict=True), color=color, linewidth=0.7, alpha=0.4)
        shared = [x for x, _ in seeds[0] if all(x in dict(points) for points in seeds)]
        means = [sum(dict(points)[x] for points in seeds) / len(seeds) for x in shared]
        axis.plot(shared, means, color=color, linestyle=line, linewidth=2, label=readable(name))
    axis.set(xlabel=across, ylabel=label)
    _finish(axis)
    return figure


def _finish(axis: Axes) -> None:
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
