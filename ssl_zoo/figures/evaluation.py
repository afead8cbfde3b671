"""Pictures of an evaluation: what was found, what was chosen, and where it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray
from torch import Tensor

from ssl_zoo.figures.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    panel,
    readable,
    show_image,
    subplots,
)

_MAX_BARS = 30
_MAX_CELLS = 25  # classes up to which each cell of a confusion matrix has its number
_MAX_BLOCKS = 250  # cells on a side; of more classes, each cell stands for several
_MAX_TICKS = 60  # names on a side
_MAX_CONFUSIONS = 25  # in the list
_TOP1 = "top-1, %"
_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # keeps figures off the lines


# --- retrieval ------------------------------------------------------------------------------------


def draw_gallery(
    queries: Sequence[Tensor],
    neighbors: Sequence[Sequence[Tensor]],
    correct: Sequence[Sequence[bool]],
) -> Figure:
    """Each row is a query and its nearest images: solid green = its class, dashed red = another.

    Args:
        queries: Images uint8 (3, H, W), of any sizes.
        neighbors: For each query its nearest images, nearest first.
        correct: Whether each of them is of the query's class.
    """
    columns = 1 + max(len(row) for row in neighbors)
    figure, axes = subplots(len(queries), columns, (1.3 * columns, 0.7 + 1.45 * len(queries)))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, query, images, right in zip(axes, queries, neighbors, correct, strict=True):
        show_image(line[0], query)
        for axis, image, is_right in zip(line[1:], images, right, strict=False):
            show_image(axis, image)
            _frame(axis, is_right)
    for axis in axes.flat:  # square places, so that images of other shapes are aligned
        axis.set_box_aspect(1)
    axes[0, 0].set_title("query")
    for rank in range(1, columns):
        axes[0, rank].set_title(f"{rank}")
    figure.supxlabel("solid green: the query's class; dashed red: another", fontsize=9)
    return figure


def _frame(axis: Axes, is_right: bool) -> None:
    axis.set_axis_on()
    for spine in axis.spines.values():
        spine.set(color=GREEN if is_right else RED, linestyle="-" if is_right else "--")
        spine.set_linewidth(3.5)


# --- classification -------------------------------------------------------------------------------


def draw_per_class(accuracy: Sequence[float], class_names: Sequence[str]) -> Figure:
    """Bars of each class's accuracy, best first, and their mean; if many, the best and worst only.

    Args:
        accuracy: Of each class, in [0, 1]; NaN for a class without images, which gets no bar.
        class_names: Name of each class.
    """
    ranked = [(a, name) for a, name in zip(accuracy, class_names, strict=True) if not math.isnan(a)]
    ranked.sort(key=lambda entry: -entry[0])
    mean = sum(a for a, _ in ranked) / max(1, len(ranked))
    left_out = max(0, len(ranked) - _MAX_BARS)
    bars = ranked
    if left_out:
        gap = (math.nan, f"… {left_out} between …")
        bars = [*ranked[: _MAX_BARS // 2], gap, *ranked[-(_MAX_BARS // 2) :]]
    figure, axis = panel(6.5, 1.2 + 0.24 * len(bars))
    percent = [100 * a for a, _ in bars]
    axis.barh(range(len(bars)), percent, color=BLUE, height=0.75)
    for row, value in enumerate(percent):
        if not math.isnan(value):
            axis.text(value + 1, row, f"{value:.0f}", va="center", fontsize=8, bbox=_WHITE)
    label = f"mean of the {len(ranked)} classes: {100 * mean:.1f}"
    axis.axvline(100 * mean, color=ORANGE, linewidth=2, linestyle="--", label=label)
    axis.set_yticks(range(len(bars)), [readable(name) for _, name in bars], fontsize=8)
    axis.set(xlim=(0, 106), ylim=(len(bars) - 0.4, -0.6), xlabel=_TOP1)
    axis.spines[["top", "right"]].set_visible(False)
    _legend_above(axis)
    return figure


def draw_confusion(counts: Tensor, class_names: Sequence[str]) -> Figure:
    """A confusion matrix: each row is a class, its cells say in % what its images were taken for.

    Of up to 25 classes each cell has its number. Of more, the most frequent confusions are listed
    by name, and of more than 250 each cell shows the largest of a block of classes. A class without
    images has a grey row.

    Args:
        counts: (C, C); a row is a true class, a column what was answered.
        class_names: C names.
    """
    count = counts.cpu().double().numpy()
    images = count.sum(axis=1)
    percent = 100 * count / np.where(images > 0, images, np.nan)[:, None]
    names = [readable(name) for name in class_names]
    block = -(-len(names) // _MAX_BLOCKS)
    side = min(9.0, 2.6 + 0.36 * len(names))
    figure, axis = panel(side + 0.6, side)
    axis.set_facecolor(GREY)  # shows through where there is no value
    scale = PowerNorm(1 if len(names) <= _MAX_CELLS else 0.5, vmin=0, vmax=100)
    end = block * -(-len(names) // block) - 0.5  # in classes, whatever the blocks
    image = axis.imshow(
        _largest_of_blocks(percent, block), "Blues", norm=scale, extent=(-0.5, end, end, -0.5)
    )
    axis.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5))
    _name_classes(axis, names)
    if len(names) <= _MAX_CELLS:
        _write_cells(axis, percent)
    else:
        _list_confusions(axis, count, percent, names)
        key = axis.inset_axes((1.04, 0.05, 0.4, 0.02))
        figure.colorbar(image, cax=key, orientation="horizontal")
    grey = ", grey = no image" if (images == 0).any() else ""
    blocks = f", the largest of {block} x {block} classes" if block > 1 else ""
    axis.set(xlabel="answered", ylabel="true class")
    axis.set_title(f"% of each class{blocks}{grey}", fontsize=9)
    return figure


def _largest_of_blocks(percent: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """The largest value of each block x block cells; NaN where there is none."""
    rest = -len(percent) % block
    padded = np.pad(percent, ((0, rest), (0, rest)), constant_values=np.nan)
    n = len(padded) // block
    known = np.nan_to_num(padded, nan=-1).reshape(n, block, n, block).max(axis=(1, 3))
    return np.where(known < 0, np.nan, known)


def _name_classes(axis: Axes, names: Sequence[str]) -> None:
    """All names, or some of them, evenly spread."""
    step = -(-len(names) // _MAX_TICKS)
    at = range(0, len(names), step)
    size = 8 if len(names) <= _MAX_CELLS else 6
    axis.set_xticks(at, [names[i] for i in at], fontsize=size, rotation=90)
    axis.set_yticks(at, [names[i] for i in at], fontsize=size)


def _write_cells(axis: Axes, percent: NDArray[np.float64]) -> None:
    """The number of each cell that is not 0."""
    for (row, column), value in np.ndenumerate(percent):
        if value > 0:
            color = "white" if value > 50 else "black"
            text = f"{value:.0f}" if value >= 0.5 else "<1"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=color)


def _list_confusions(
    axis: Axes, count: NDArray[np.float64], percent: NDArray[np.float64], names: Sequence[str]
) -> None:
    """The most frequent confusions by name, beside the matrix."""
    wrong = count.copy()
    np.fill_diagonal(wrong, 0)
    lines = ["true class → answered"]
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_MAX_CONFUSIONS]:
        row, column = divmod(int(place), len(names))
        if not wrong[row, column]:
            break
        share = f"{percent[row, column]:.0f}% ({wrong[row, column]:.0f})"
        lines.append(f"{names[row]} → {names[column]}: {share}")
    if len(lines) == 1:
        lines = ["nothing is confused"]
    axis.text(1.03, 1, "\n".join(lines), va="top", fontsize=8, transform=axis.transAxes)


def draw_grid(
    val_top1: Tensor,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float],
    chosen: tuple[float, float] | None = None,
) -> Figure:
    """A grid of heads on val: a heat map, or a curve if there is only one weight decay.

    Args:
        val_top1: (num_lr, num_wd) in [0, 1]; NaN = diverged, shown grey.
        learning_rates: num_lr of them.
        weight_decays: num_wd of them.
        chosen: Learning rate and weight decay of the head scored on test; None = the first of the
            highest.
    """
    percent = 100 * val_top1.detach().cpu().double().numpy()
    if chosen is None:
        rate, decay = divmod(int(np.nan_to_num(percent, nan=-1).argmax()), len(weight_decays))
    else:
        rate, decay = list(learning_rates).index(chosen[0]), list(weight_decays).index(chosen[1])
    if len(weight_decays) == 1:
        return _draw_curve("learning rate", learning_rates, percent[:, 0], rate)
    return _draw_cells(percent.T, learning_rates, weight_decays, (rate, decay))


def _draw_cells(
    percent: NDArray[np.float64],
    learning_rates: Sequence[float],
    weight_decays: Sequence[float],
    chosen: tuple[int, int],
) -> Figure:
    """Weight decays downwards, learning rates to the right; `chosen` is (column, row)."""
    figure, axis = panel(1.8 + 0.58 * len(learning_rates), 1.6 + 0.45 * len(weight_decays))
    axis.set_facecolor(GREY)  # shows through where there is no value
    image = axis.imshow(percent, cmap="viridis", aspect="auto")
    middle = (np.nanmin(percent) + np.nanmax(percent)) / 2 if np.isfinite(percent).any() else 0
    for (row, column), value in np.ndenumerate(percent):
        text = "-" if math.isnan(value) else f"{value:.1f}"
        color = "white" if value < middle else "black"
        weight = "bold" if (column, row) == chosen else "normal"
        axis.text(
            column, row, text, ha="center", va="center", fontsize=8, color=color, weight=weight
        )
    column, row = chosen
    axis.add_patch(
        Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=3)
    )
    axis.set_xticks(range(len(learning_rates)), [f"{lr:g}" for lr in learning_rates], rotation=45)
    axis.set_yticks(range(len(weight_decays)), [f"{wd:g}" for wd in weight_decays])
    diverged = ", grey = diverged" if np.isnan(percent).any() else ""
    title = f"top-1 on val, % (framed = chosen{diverged})"
    axis.set(xlabel="learning rate", ylabel="weight decay", title=title)
    figure.colorbar(image, ax=axis, pad=0.02)
    return figure


def draw_strengths(val_top1: Sequence[float], strengths: Sequence[float], chosen: float) -> Figure:
    """Accuracy on val over the strength of regularisation, the chosen one ringed.

    Args:
        val_top1: In [0, 1], for each strength.
        strengths: Above 0.
        chosen: One of them.
    """
    percent = 100 * np.asarray(val_top1, dtype=float)
    return _draw_curve("L2 strength", strengths, percent, list(strengths).index(chosen))


def _draw_curve(
    knob: str,
    settings: Sequence[float],
    percent: NDArray[np.float64],
    chosen: int,
) -> Figure:
    figure, axis = panel(6, 3.6)
    axis.plot(settings, percent, marker="o", color=BLUE, label="on val")
    diverged = [s for s, value in zip(settings, percent, strict=True) if math.isnan(value)]
    if diverged:
        bottom = axis.get_xaxis_transform()  # y as a part of the panel's height
        axis.plot(
            diverged, [0.03] * len(diverged), "x", color=GREY, transform=bottom, label="diverged"
        )
    axis.plot(
        settings[chosen],
        percent[chosen],
        marker="o",
        markersize=13,
        linestyle="none",
        markerfacecolor="none",
        markeredgecolor=RED,
        markeredgewidth=2,
        label=f"chosen: {settings[chosen]:.3g}, {percent[chosen]:.1f}%",
    )
    axis.set(xscale="log", xlabel=knob, ylabel=_TOP1)
    axis.grid(alpha=0.3)
    _legend_above(axis)
    return figure


def draw_few_shot(
    top1: Mapping[str, Sequence[float]], labels_per_class: Mapping[str, float]
) -> Figure:
    """Accuracy over the number of labels: a point for each draw, a line for their means.

    Args:
        top1: For each setting, such as "1%", the draws' accuracies in [0, 1].
        labels_per_class: For each setting its labels over the number of classes.
    """
    figure, axis = panel(6, 3.8)
    settings = sorted(top1, key=lambda setting: labels_per_class[setting])
    x = [labels_per_class[setting] for setting in settings]
    means = [100 * float(np.mean(top1[setting])) for setting in settings]
    axis.plot(x, means, color=BLUE, marker="_", markersize=14, label="mean of the draws")
    for i, (count, setting) in enumerate(zip(x, settings, strict=True)):
        draws = [100 * value for value in top1[setting]]
        label = "one draw" if i == 0 else None
        axis.scatter([count] * len(draws), draws, s=22, color=ORANGE, alpha=0.7, label=label)
        if setting != f"{count:g}":  # such as 1%
            top = (count, max(draws))
            axis.annotate(readable(setting), top, (0, 6), textcoords="offset points", ha="center")
    axis.set(xscale="log", xlabel="labels per class", ylabel=_TOP1)
    axis.margins(y=0.12)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    _legend_above(axis)
    return figure


def _legend_above(axis: Axes) -> None:
    """A legend above the panel, where it hides no curve."""
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
