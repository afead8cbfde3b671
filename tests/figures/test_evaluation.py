"""Pictures of an evaluation: read from the figures, and their colours from the pixels."""

from __future__ import annotations

import logging
import math
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.figures import NAN, gallery, pixels_of, size_of
from helpers.tiers import only
from ssl_zoo import figures
from ssl_zoo.figures import evaluation
from ssl_zoo.figures.canvas import GREEN, GREY, RED, panel, save

# --- the gallery ----------------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("pictures")


def is_close(pixels: Any, color: str) -> Any:
    return (np.abs(pixels - np.array(to_rgb(color))) < 0.02).all(axis=-1)


def test_frames_of_the_gallery() -> None:
    figure = gallery()
    pixels = pixels_of(figure)
    right, wrong, none = "right", "wrong", "none"
    expected = [none, right, wrong, right, none, wrong, right, none]
    for axis, frame in zip(figure.axes, expected, strict=True):
        x0, y0, _, y1 = axis.get_window_extent().extents.astype(int)
        left = pixels[y0:y1, x0 - 1 : x0 + 2]  # its left side
        green, red = (is_close(left, color).any(axis=1).mean() for color in (GREEN, RED))
        if frame == right:
            assert green > 0.95  # solid
            assert red == 0
        elif frame == wrong:
            assert green == 0
            assert 0.3 < red < 0.95  # dashed
        else:
            assert green == red == 0


def test_images_of_the_gallery() -> None:
    figure = gallery()
    shown = [axis.images[0].get_array() if axis.images else None for axis in figure.axes]
    shapes = [None if image is None else image.shape[:2] for image in shown]
    dark, light = (32, 32), (20, 48)
    assert shapes == [light, dark, light, dark, dark, light, dark, None]
    assert shown[0].min() == 1
    assert shown[1].max() == 0
    figure.canvas.draw()
    boxes = [axis.get_window_extent().bounds for axis in figure.axes]
    np.testing.assert_allclose([box[2] for box in boxes], boxes[0][3])  # squares, all of one size
    for axis in figure.axes[:7]:  # none is stretched, none is cut
        left, right, bottom, top = axis.images[0].get_extent()
        assert axis.get_data_ratio() == pytest.approx(1)
        (x0, x1), (y1, y0) = axis.get_xlim(), axis.get_ylim()
        assert x0 <= left < right <= x1
        assert y0 <= top < bottom <= y1


# --- per class ------------------------------------------------------------------------------------


def bars_of(figure: Figure) -> list[tuple[str, float]]:
    """Names and per cent from the top down."""
    axis = figure.axes[0]
    assert axis.yaxis_inverted()
    names = [label.get_text() for label in axis.get_yticklabels()]
    return [(name, bar.get_width()) for name, bar in zip(names, axis.patches, strict=True)]


def test_classes_by_accuracy() -> None:
    figure = evaluation.draw_per_class([0.25, 1.0, NAN, 0.0, 0.5], list("abcde"))
    assert bars_of(figure) == [("b", 100), ("e", 50), ("a", 25), ("d", 0)]
    (line,) = figure.axes[0].lines
    assert line.get_xdata()[0] == pytest.approx(100 * (0.25 + 1 + 0 + 0.5) / 4)
    assert line.get_label() == "mean of the 4 classes: 43.8"


@pytest.mark.parametrize("count", only([30], [30, 31, 100]))
def test_of_many_classes_the_best_and_the_worst(count: int) -> None:
    accuracy = [(7 * i % count) / count for i in range(count)]
    bars = bars_of(evaluation.draw_per_class(accuracy, [f"c{i}" for i in range(count)]))
    ranked = sorted(range(count), key=lambda i: -accuracy[i])
    names = [name for name, _ in bars]
    if count == 30:
        assert names == [f"c{i}" for i in ranked]
    else:
        kept = [f"c{i}" for i in ranked[:15]], [f"c{i}" for i in ranked[-15:]]
        assert names == [*kept[0], f"… {count - 30} between …", *kept[1]]
        line = evaluation.draw_per_class(accuracy, [""] * count).axes[0].lines[0]
        assert line.get_xdata()[0] == pytest.approx(100 * sum(accuracy) / count)


def test_long_names_are_cut() -> None:
    names = ["x" * 100, "golden retriever from camera 1", "golden retriever from camera 12"]
    shown = [name for name, _ in bars_of(evaluation.draw_per_class([0.5, 0.4, 0.3], names))]
    assert shown[0] == "x" * 12 + "…" + "x" * 11
    assert len(set(shown)) == 3  # they begin alike


@pytest.mark.slow
def test_names_in_any_script_are_drawn_silently(tmp_path: Path) -> None:
    """Letters that the font lacks: no warning for each of them and each row."""
    figure = evaluation.draw_per_class([0.5, 0.4], ["日本語", "🍎\tApfel"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(figure, tmp_path / "classes.png")
    assert [name for name, _ in bars_of(figure)] == ["日本語", "🍎 Apfel"]


# --- confusions ---------------------------------------------------------------------------------


def texts_of(figure: Figure) -> dict[tuple[int, int], str]:
    """The number of each cell, by (true class, answered)."""
    axis = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axis.texts}
    return {(int(row), int(column)): text for (column, row), text in cells.items()}


def names_of(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_confusions_of_two_classes() -> None:
    figure = evaluation.draw_confusion(torch.tensor([[3, 1], [0, 400]]), ["cat", "dog"])
    axis = figure.axes[0]
    assert texts_of(figure) == {(0, 0): "75", (0, 1): "25", (1, 1): "100"}
    assert names_of(figure) == [text.get_text() for text in axis.get_xticklabels()]
    assert names_of(figure) == ["cat", "dog"]
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("true class", "answered")
    pixels = pixels_of(figure)
    width, height = figure.canvas.get_width_height()
    for text in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height
    dark, light = (pixels[tuple(axis.transData.transform(p).astype(int)[::-1])] for p in CORNERS)
    assert dark.mean() < 0.5 < light.mean()


CORNERS = [(1.3, 1.3), (-0.3, 1.3)]  # of the cells (dog, dog) and (dog, cat)


def test_a_class_without_images_is_grey() -> None:
    figure = evaluation.draw_confusion(torch.tensor([[1, 1], [0, 0]]), ["cat", "dog"])
    axis = figure.axes[0]
    assert texts_of(figure) == {(0, 0): "50", (0, 1): "50"}
    assert "grey = no image" in axis.get_title()
    x, y = axis.transData.transform((0.3, 1.3)).astype(int)
    pixels = pixels_of(figure)
    x, y = axis.transData.transform((0.3, 1.3)).astype(int)
    assert is_close(pixels[y, x], GREY)


def test_confusions_of_thirty_classes_are_listed() -> None:
    counts = 10 * torch.eye(30)
    counts[3, 4], counts[8, 1] = 30, 10
    figure = evaluation.draw_confusion(counts, [f"c{i}" for i in range(30)])
    (text,) = figure.axes[0].texts
    assert text.get_text().splitlines()[1:] == ["c3 → c4: 75% (30)", "c8 → c1: 50% (10)"]
    assert names_of(figure) == [f"c{i}" for i in range(30)]
    perfect = evaluation.draw_confusion(torch.eye(30), ["x"] * 30)
    assert perfect.axes[0].texts[0].get_text() == "nothing is confused"


@pytest.mark.slow
def test_confusions_of_a_thousand_classes() -> None:
    counts = 50 * torch.eye(1000)
    counts[7, 990] = 50
    counts[999, 0] = 5
    figure = evaluation.draw_confusion(counts, [f"class {i}" for i in range(1000)])
    axis = figure.axes[0]
    shown = axis.images[0].get_array()
    assert shown.shape == (250, 250)
    assert "the largest of 4 x 4 classes" in axis.get_title()
    assert shown[1, 247] == pytest.approx(50)
    assert shown[249, 0] == pytest.approx(100 * 5 / 55)
    assert (shown > 0).sum() == 252
    lines = axis.texts[0].get_text().splitlines()[1:]
    assert lines == ["class 7 → class 990: 50% (50)", "class 999 → class 0: 9% (5)"]
    assert names_of(figure)[:2] == ["class 0", "class 17"]
    pixels_of(figure)
    cell = axis.get_window_extent().width / 250
    assert cell > 2  # pixels
    boxes = [text.get_window_extent() for text in axis.get_yticklabels()]
    assert all(above.y0 > below.y1 - 1 for above, below in pairwise(boxes))


# --- what was chosen on val -----------------------------------------------------------------------

RATES, DECAYS = [0.01, 0.1, 1.0], [0.0, 1e-4]

GRID = torch.tensor([[0.5, 0.6], [0.7, 0.9], [NAN, 0.8]])


def framed(figure: Figure) -> tuple[float, float]:
    """Learning rate and weight decay of the framed cell."""
    axis = figure.axes[0]
    (frame,) = (patch for patch in axis.patches if isinstance(patch, Rectangle))
    assert frame.get_width() == frame.get_height() == 1
    column, row = round(frame.get_x() + 0.5), round(frame.get_y() + 0.5)
    rates, decays = axis.get_xticklabels(), axis.get_yticklabels()
    return float(rates[column].get_text()), float(decays[row].get_text())


def test_the_grid() -> None:
    figure = evaluation.draw_grid(GRID, RATES, DECAYS)
    axis = figure.axes[0]
    assert framed(figure) == (0.1, 1e-4)
    texts = {tuple(map(int, text.get_position())): text for text in axis.texts}
    for rate in range(3):
        for decay in range(2):
            value = float(GRID[rate, decay])
            said = "-" if math.isnan(value) else f"{100 * value:.1f}"
            assert texts[rate, decay].get_text() == said
            assert (texts[rate, decay].get_weight() == "bold") == (value == GRID[1, 1])
    assert "grey = diverged" in axis.get_title()
    pixels = pixels_of(figure)
    for (rate, decay), is_grey in {(2, 0): True, (0, 0): False, (2, 1): False}.items():
        x, y = axis.transData.transform((rate - 0.4, decay - 0.4)).astype(int)
        assert is_close(pixels[y, x], GREY) == is_grey


def test_the_head_that_was_chosen_among_equals() -> None:
    grid = torch.full((3, 2), 0.5)
    assert framed(evaluation.draw_grid(grid, RATES, DECAYS)) == (0.01, 0)
    assert framed(evaluation.draw_grid(grid, RATES, DECAYS, chosen=(1.0, 1e-4))) == (1.0, 1e-4)


def points_of(figure: Figure, label: str) -> list[tuple[float, float]]:
    (line,) = (line for line in figure.axes[0].lines if str(line.get_label()).startswith(label))
    x, y = np.atleast_1d(line.get_xdata()), np.atleast_1d(line.get_ydata())
    return [(float(a), round(float(b), 4)) for a, b in zip(x, y, strict=True)]


def test_one_weight_decay_is_a_curve() -> None:
    figure = evaluation.draw_grid(torch.tensor([[0.5], [0.75], [NAN]]), RATES, [0.0])
    assert figure.axes[0].get_xscale() == "log"
    assert points_of(figure, "on val")[:2] == [(0.01, 50), (0.1, 75)]
    assert points_of(figure, "chosen") == [(0.1, 75)]
    assert [rate for rate, _ in points_of(figure, "diverged")] == [1.0]


def test_strengths() -> None:
    figure = evaluation.draw_strengths([0.2, 0.9, 0.9], [10.0, 0.1, 0.001], chosen=0.001)
    assert figure.axes[0].get_xscale() == "log"
    assert points_of(figure, "on val") == [(10, 20), (0.1, 90), (0.001, 90)]
    assert points_of(figure, "chosen: 0.001, 90.0%") == [(0.001, 90)]


def test_few_shot() -> None:
    top1 = {"10%": [0.8, 0.9], "1": [0.2, 0.3], "5": [0.5, 0.5]}
    figure = evaluation.draw_few_shot(top1, {"10%": 50.0, "1": 1, "5": 5})
    axis = figure.axes[0]
    assert axis.get_xscale() == "log"
    assert points_of(figure, "mean") == [(1, 25), (5, 50), (50, 85)]
    draws = [[round(y, 4) for y in c.get_offsets()[:, 1].tolist()] for c in axis.collections]
    assert draws == [[20, 30], [50, 50], [80, 90]]
    assert [text.get_text() for text in axis.texts] == ["10%"]


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_files(tmp_path: Path) -> None:
    image = torch.zeros(3, 32, 32).byte()
    drawn = {
        "gallery": figures.draw_gallery([image], [[image] * 3], [[True] * 3]),
        "per_class": figures.draw_per_class([0.5, 0.6], ["a", "b"]),
        "confusion": figures.draw_confusion(torch.eye(40), [f"class {i}" for i in range(40)]),
        "grid": figures.draw_grid(GRID, RATES, DECAYS),
        "curve": figures.draw_grid(GRID[:, :1], RATES, DECAYS[:1]),
        "diverged": figures.draw_grid(GRID * NAN, RATES, DECAYS),
        "strengths": figures.draw_strengths([0.1, 0.2], [1.0, 0.1], 0.1),
        "few_shot": figures.draw_few_shot({"1": [0.5]}, {"1": 1}),
    }
    made = [
        figures.save(figure, tmp_path / "new" / f"{name}.png") for name, figure in drawn.items()
    ]
    assert [path.stem for path in made] == list(drawn)
    for path in made:
        assert all(100 < side < 1500 for side in size_of(path)), path


def test_letters_are_drawn_in_a_font_that_has_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    figure, axis = panel(2, 1)
    circled = axis.set_title("ant \u24b6")  # STIX, which comes with matplotlib, has the circled A
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        save(figure, tmp_path / "a.png")
        assert not caplog.messages
        assert circled.get_fontfamily()[1:]  # its own first
        axis.set_xlabel("\U0010fffd")  # no font has what is for private use
        save(figure, tmp_path / "a.png")
        save(figure, tmp_path / "a.png")
    assert len(caplog.messages) == 1
    assert "no installed font has \U0010fffd: boxes stand for them" in caplog.text
