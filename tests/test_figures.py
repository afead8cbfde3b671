"""Pictures: what they show is read from the figures, and their colours from the pixels."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ssl_zoo import figures
from ssl_zoo.figures import evaluation, maps
from ssl_zoo.figures.common import GREEN, GREY, RED
from ssl_zoo.types import UserError

NAN = math.nan


def blobs(count: int = 60, classes: int = 3, dim: int = 8) -> tuple[Tensor, Tensor]:
    """Far apart on the unit sphere."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(count) % classes
    centers = 5 * torch.eye(max(dim, classes))[:, :dim]
    return centers[label] + 0.3 * torch.randn(count, dim, generator=generator), label


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) in pixels."""
    height, width = matplotlib.image.imread(path).shape[:2]
    return width, height


def pixels_of(figure: Figure) -> Any:
    """(H, W, 3) in [0, 1], row 0 at the bottom."""
    figure.tight_layout()
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[::-1, :, :3] / 255  # type: ignore[attr-defined]


# --- maps -----------------------------------------------------------------------------------------


def centers_of(axis: Any) -> tuple[Any, float]:
    """The classes' centres, and the greatest distance of a point from its own."""
    groups = [collection.get_offsets() for collection in axis.collections]
    centers = np.stack([group.mean(axis=0) for group in groups])
    spread = max(
        np.linalg.norm(group - center, axis=1).max()
        for group, center in zip(groups, centers, strict=True)
    )
    return centers, float(spread)


def test_maps_keep_far_classes_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    figure = maps.draw_maps(*blobs(), ["a", "b", "c"])
    assert [axis.get_title() for axis in figure.axes] == ["PCA", "t-SNE"]
    for axis in figure.axes:
        centers, spread = centers_of(axis)
        gaps = np.linalg.norm(centers[:, None] - centers[None], axis=2)[np.triu_indices(3, 1)]
        assert gaps.min() > 2 * spread


def test_pca_is_that_of_the_covariance() -> None:
    x, label = blobs(40, classes=1)
    points = maps.draw_maps(x, label, ["a"]).axes[0].collections[0].get_offsets()
    unit = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    values = np.linalg.eigvalsh(np.cov(unit.T))
    np.testing.assert_allclose(np.var(points, axis=0, ddof=1), values[:-3:-1], rtol=1e-4)


def test_the_same_map_each_time() -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    cloud = torch.randn(200, 600, generator=torch.Generator().manual_seed(0))
    first, second = (maps.draw_maps(cloud, torch.zeros(200).long(), ["a"]) for _ in range(2))
    for one, other in zip(first.axes, second.axes, strict=True):
        for a, b in zip(one.collections, other.collections, strict=True):
            np.testing.assert_array_equal(a.get_offsets(), b.get_offsets())
    assert torch.equal(torch.get_rng_state(), state[0])
    assert (np.random.get_state()[1] == state[1]).all()


def test_umap_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class UMAP:  # stands for umap-learn's
        def __init__(self, **options: Any) -> None:
            assert options == {"n_neighbors": 15, "init": "pca", "random_state": 0, "n_jobs": 1}

        def fit_transform(self, points: Any) -> Any:
            return points[:, :2] + 7

    module = ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    figure = maps.draw_maps(*blobs(), ["a", "b", "c"])
    assert [axis.get_title() for axis in figure.axes] == ["PCA", "t-SNE", "UMAP"]
    pca, umap = (figure.axes[i].collections[0].get_offsets() for i in (0, 2))
    np.testing.assert_allclose(umap, pca + 7, rtol=1e-6)


def test_at_most_2000_points_evenly_spaced() -> None:
    keep, _ = maps._reduced(torch.arange(5000.0)[:, None] - 2499.5, torch.arange(5000))
    assert len(keep) == 2000
    _, labels = maps._reduced(torch.randn(5000, 3), torch.arange(5000))
    assert labels[0] == 0
    assert labels[-1] == 4999
    assert set(np.diff(labels)) <= {2, 3}


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(12, 1, generator=torch.Generator().manual_seed(0)),
        torch.randn(12, 2, generator=torch.Generator().manual_seed(0)),
        torch.ones(12, 5),
        torch.zeros(12, 5),
        torch.randn(4, 300, generator=torch.Generator().manual_seed(0)),
        torch.randn(12, 8, generator=torch.Generator().manual_seed(0)).bfloat16(),
    ],
    ids=["one dimension", "two dimensions", "collapsed", "zero", "four points", "bfloat16"],
)
def test_maps_of_odd_representations(x: Tensor) -> None:
    for axis in maps.draw_maps(x, torch.arange(len(x)) % 2, ["a", "b"]).axes:
        points = np.concatenate([collection.get_offsets() for collection in axis.collections])
        assert points.shape == (len(x), 2)
        assert np.isfinite(points).all()


def test_maps_that_cannot_be_drawn(tmp_path: Path) -> None:
    x, label = blobs()
    for save in (figures.save_map, figures.save_maps):
        for bad in (NAN, math.inf):
            broken = x.clone()
            broken[7, 2] = bad
            with pytest.raises(UserError, match="NaN or infinity") as error:
                save(broken, label, ["a", "b", "c"], tmp_path / "map.png")
            assert "\n" not in str(error.value)
        with pytest.raises(UserError, match="map of 3 images"):
            save(x[:3], label[:3], ["a", "b", "c"], tmp_path / "map.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("classes", [3, 20, 21])
def test_a_legend_up_to_20_classes(classes: int) -> None:
    x, label = blobs(120, classes, dim=30)
    label[:5] = -1
    names = [f"_class ${i}" for i in range(classes)]  # what matplotlib would hide, or parse
    axis = maps.draw_maps(x, label, names).axes[-1]
    if classes > 20:
        assert axis.get_legend() is None
        return
    shown = [text.get_text() for text in axis.get_legend().get_texts()]
    assert shown == ["unlabelled", *(f" _class \\${i}" for i in range(classes))]
    looks = {
        (tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in axis.collections
    }
    assert len(looks) == classes + 1
    np.testing.assert_allclose(axis.collections[0].get_facecolor()[0, :3], to_rgb(GREY))


def test_map_files(tmp_path: Path) -> None:
    x, label = blobs()
    one = figures.save_map(x, label, ["a", "b", "c"], tmp_path / "new" / "map.png")
    several = figures.save_maps(x, label, ["a", "b", "c"], tmp_path / "maps.png")
    assert one == tmp_path / "new" / "map.png"
    assert size_of(one)[0] < size_of(several)[0]
    assert all(side > 500 for path in (one, several) for side in size_of(path))


# --- the gallery ----------------------------------------------------------------------------------


def gallery() -> Figure:
    dark, light = torch.zeros(3, 32, 32).byte(), torch.full((3, 20, 48), 255).byte()
    neighbors = [[dark, light, dark], [light, dark]]
    return evaluation.draw_gallery([light, dark], neighbors, [[True, False, True], [False, True]])


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


@pytest.mark.parametrize("count", [30, 31, 100])
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
    ((name, _),) = bars_of(evaluation.draw_per_class([0.5], ["x" * 100]))
    assert name == "x" * 23 + "…"


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


def test_files(tmp_path: Path) -> None:
    image = torch.zeros(3, 32, 32).byte()
    made = [
        figures.save_gallery([image], [[image] * 3], [[True] * 3], tmp_path / "gallery.png"),
        figures.save_per_class([0.5, 0.6], ["a", "b"], tmp_path / "per_class.png"),
        figures.save_grid(GRID, RATES, DECAYS, tmp_path / "grid.png"),
        figures.save_grid(GRID[:, :1], RATES, DECAYS[:1], tmp_path / "curve.png"),
        figures.save_grid(GRID * NAN, RATES, DECAYS, tmp_path / "diverged.png"),
        figures.save_strengths([0.1, 0.2], [1.0, 0.1], 0.1, tmp_path / "strengths.png"),
        figures.save_few_shot({"1": [0.5]}, {"1": 1}, tmp_path / "few" / "few_shot.png"),
    ]
    assert [path.stem for path in made] == [
        *("gallery", "per_class", "grid", "curve", "diverged", "strengths", "few_shot")
    ]
    for path in made:
        assert all(100 < side < 1500 for side in size_of(path)), path


def test_views_and_curves(tmp_path: Path) -> None:
    images = torch.zeros(3, 3, 8, 8).byte()
    views = [torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8)]
    mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    path = figures.save_views(images, views, mean, std, tmp_path / "views.png")
    gray = matplotlib.image.imread(path)[..., 0]
    thirds = np.array_split(gray[:, gray.shape[1] // 2], 3)
    for third, level in zip(thirds, (0, 0.5, 0.75), strict=True):
        assert np.median(third) == pytest.approx(level, abs=0.01)
    curves = {"train/loss": [(0, 2.0), (10, 1.0)], "lr/all": [(0, 0.1)]}
    assert size_of(figures.save_curves(curves, tmp_path / "curves.png"))[0] > 800
