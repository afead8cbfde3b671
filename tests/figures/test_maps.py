"""Maps of representations."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from torch import Tensor

from helpers.figures import NAN, blobs, size_of
from ssl_zoo import figures
from ssl_zoo.figures import maps
from ssl_zoo.figures.canvas import GREY
from ssl_zoo.types import UserError

pytestmark = pytest.mark.usefixtures("pictures")


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


@pytest.mark.slow
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


def test_maps_that_cannot_be_drawn() -> None:
    x, label = blobs()
    for draw in (figures.draw_map, figures.draw_maps):
        for bad in (NAN, math.inf):
            broken = x.clone()
            broken[7, 2] = bad
            with pytest.raises(UserError, match="NaN or infinity") as error:
                draw(broken, label, ["a", "b", "c"])
            assert "\n" not in str(error.value)
        with pytest.raises(UserError, match="map of 3 images"):
            draw(x[:3], label[:3], ["a", "b", "c"])


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


@pytest.mark.slow
def test_map_files(tmp_path: Path) -> None:
    x, label = blobs()
    one = figures.save(figures.draw_map(x, label, ["a", "b", "c"]), tmp_path / "new" / "map.png")
    several = figures.save(figures.draw_maps(x, label, ["a", "b", "c"]), tmp_path / "maps.png")
    assert one == tmp_path / "new" / "map.png"
    assert size_of(one)[0] < size_of(several)[0]
    assert all(side > 500 for path in (one, several) for side in size_of(path))
