"""The picture of a sweep, by what it varied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.figures import pixels_of
from helpers.tiers import only
from ssl_zoo.figures import Swept, draw_sweep
from ssl_zoo.multirun import spread_of


def swept(scores: Sequence[float], **values: str) -> Swept:
    """A setting; `__` stands for a dot."""
    spread = spread_of(scores) if scores else None
    return Swept(
        values={knob.replace("__", "."): value for knob, value in values.items()},
        scores=scores,
        mean=spread and spread.mean,
        interval=spread and spread.interval,
        runs=len(scores) or 1,
    )


def panel(figure: Figure) -> Axes:
    return figure.axes[0]


def x_labels(axis: Axes) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


def y_labels(axis: Axes) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


@pytest.mark.parametrize(
    ("values", "log", "scale"),
    [
        (["0.1", "0.2", "0.5"], [], "linear"),
        (["0.1", "0.2", "0.5"], ["optimizer.lr"], "log"),  # as the sweep drew it
        (["1e-4", "1e-3", "0.010000000000000002"], [], "log"),
        (["0", "1e-6", "1e-4"], [], "symlog"),
    ],
)
def test_one_number_is_a_curve(values: list[str], log: list[str], scale: str) -> None:
    settings = [swept([50 + i, 52 + i], optimizer__lr=value) for i, value in enumerate(values)]
    axis = panel(draw_sweep(settings, "score", log=log))
    assert (axis.get_xscale(), axis.get_xlabel()) == (scale, "optimizer.lr")
    low, high = axis.get_xlim()
    assert low < float(values[0]) < float(values[-1]) < high
    assert all(len(label) <= 6 for label in x_labels(axis))
    curve = axis.lines[0]
    assert list(curve.get_ydata()) == [51, 52, 53]
    dots = [y for line in axis.lines[1:] for y in line.get_ydata() if line.get_marker() == "o"]
    assert sorted(dots) == [50, 51, 52, 52, 53, 54]


@pytest.mark.parametrize(("settings", "joined"), [(20, "-"), (60, "None")])
def test_a_line_joins_few_points(settings: int, joined: str) -> None:
    drawn = [swept([50.0 + i % 7], lr=repr(0.1 + i / 999)) for i in range(settings)]
    assert panel(draw_sweep(drawn, "score")).lines[0].get_linestyle() == joined


def test_a_curve_for_each_choice_and_a_cross_where_no_run_has_a_score() -> None:
    methods, rates = ("simclr", "moco"), ("0.03", "0.1")
    settings = [swept([50.0], method=m, lr=lr) for m, lr in product(methods, rates)]
    settings[1] = swept([], method="simclr", lr="0.1")
    axis = panel(draw_sweep(settings, "score"))
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["simclr", "moco", "no score"]
    crosses = [line.get_xdata() for line in axis.lines if line.get_marker() == "x"]
    assert [list(x) for x in crosses] == [[0.1], [], []]


def test_two_numbers_are_a_heat_map() -> None:
    grid = list(product(["0.1", "0.2", "1.0"], ["1e-3", "1e-2"]))
    settings = [swept([40.0 + i, 44.0 + i], t=t, lr=lr) for i, (t, lr) in enumerate(grid)]
    settings[0] = swept([], t="0.1", lr="1e-3")
    axis = panel(draw_sweep(settings, "score", lowest=True))
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("t", "lr")
    assert (x_labels(axis), y_labels(axis)) == (["0.1", "0.2", "1"], ["0.001", "0.01"])
    assert texts(axis) == ["no score", *(f"{42 + i:.1f}\n±25.4" for i in range(1, 6))]
    (frame,) = axis.patches
    assert frame.get_xy() == (-0.5, 0.5)  # type: ignore[attr-defined]  # t=0.1, lr=1e-2: the lowest
    assert axis.images[0].get_array().shape == (2, 3)  # type: ignore[union-attr]


def test_a_heat_map_for_each_of_a_few_choices() -> None:
    grid = product(["a", "b", "c"], ["1", "2"], ["1", "2"])
    settings = [swept([float(i)], m=m, t=t, lr=lr) for i, (m, t, lr) in enumerate(grid)]
    axes = draw_sweep(settings, "score").axes
    assert [axis.get_title() for axis in axes[:3]] == ["a", "b", "c"]


def test_two_numbers_that_were_drawn_are_a_cloud() -> None:
    settings = [swept([50.0 + i], t=f"0.{i + 11}", lr=f"{2.0**-i!r}") for i in range(60)]
    figure = draw_sweep(settings, "score", log=["lr"])
    axis = panel(figure)
    assert len(axis.collections[0].get_offsets()) == 60  # type: ignore[arg-type]
    assert (axis.get_xscale(), axis.get_yscale()) == ("linear", "log")
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["best: 109.0, n = 1"]


def test_choices_are_rows_with_all_seeds_the_mean_and_the_interval() -> None:
    settings = [swept([50, 51, 52], method="simclr"), swept([60, 70], method="moco")]
    settings += [swept([], method="byol")]
    axis = panel(draw_sweep(settings, "score"))
    assert y_labels(axis) == ["moco", "simclr", "byol"]
    assert texts(axis) == ["65.0 (n = 2)", "51.0 (n = 3)", "no score (n = 0 of 1)"]
    dots, means = axis.lines
    assert sorted(dots.get_xdata()) == [50, 51, 52, 60, 70]
    assert list(means.get_xdata()) == [65, 51]
    (bars,) = axis.collections
    (low, _), (high, _) = bars.get_paths()[1].vertices  # type: ignore[attr-defined]
    assert (low, high) == pytest.approx(settings[0].interval)
    assert axis.get_title().endswith("cut at the frame")  # that of two seeds is 64 wide
    assert axis.get_xlim()[1] < 90


def test_of_falling_scores_the_lowest_is_the_best() -> None:
    settings = [swept([2.0], method="a"), swept([1.0], method="b")]
    assert y_labels(panel(draw_sweep(settings, "loss", lowest=True))) == ["b", "a"]


@pytest.mark.parametrize("jobs", only([60], [1, 2, 6, 60]))
def test_every_label_is_readable_at_any_number_of_jobs(jobs: int) -> None:
    """No label covers the next one, and the picture keeps to its width."""
    place = "/data/of/somebody/with/a/long/path"
    settings = [
        swept([50.0 + i], dataset__root=f"{place}/set_{i}", method="metric_learning")
        for i in range(jobs)
    ]
    figure = draw_sweep(settings, "val/knn_top1, %")
    pixels_of(figure)
    boxes = [label.get_window_extent() for label in panel(figure).get_yticklabels()]
    heights = sorted((box.y0, box.y1) for box in boxes)
    assert all(lower[1] <= upper[0] for lower, upper in pairwise(heights))
    assert max(box.width for box in boxes) < 0.4 * figure.bbox.width
    if jobs > 1:
        assert "set_0, metric_learning" in y_labels(panel(figure))


def test_a_sweep_without_any_score_has_a_picture() -> None:
    axis = panel(draw_sweep([swept([], method="a"), swept([], method="b")], "score"))
    assert texts(axis) == ["no score"] * 2
    draw_sweep([swept([], lr="1"), swept([], lr="2")], "score")
    draw_sweep([swept([], lr=a, t=b) for a in "12" for b in "12"], "score")
    draw_sweep([swept([])], "score")
