"""Pictures of a run: its views and curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch

from helpers.figures import size_of
from ssl_zoo import figures

pytestmark = pytest.mark.usefixtures("pictures")


def test_views_and_curves(tmp_path: Path) -> None:
    images = torch.zeros(3, 3, 8, 8).byte()
    views = [torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8)]
    mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    path = figures.save(figures.draw_views(images, views, mean, std), tmp_path / "views.png")
    gray = matplotlib.image.imread(path)[..., 0]
    thirds = np.array_split(gray[:, gray.shape[1] // 2], 3)
    for third, level in zip(thirds, (0, 0.5, 0.75), strict=True):
        assert np.median(third) == pytest.approx(level, abs=0.01)
    curves = {"train/loss": [(0, 2.0), (10, 1.0)], "lr/all": [(0, 0.1)]}
    assert size_of(figures.save(figures.draw_curves(curves), tmp_path / "curves.png"))[0] > 800


def test_curves_have_epochs_and_what_they_are_compared_with() -> None:
    curves = {"val/knn_top1": [(1.0, 0.2), (2.0, 0.4)], "lr/all": [(0.25, 0.1)]}
    figure = figures.draw_curves(curves, {"top-1 on val": {"chance": 0.1, "random init": 0.15}})
    top1, rate = figure.axes[:2]
    lines = {line.get_label(): line for line in top1.get_lines()}
    assert list(lines) == ["val/knn_top1", "chance", "random init"]
    assert list(lines["val/knn_top1"].get_xdata()) == [1.0, 2.0]
    assert set(lines["random init"].get_ydata()) == {0.15}
    assert [text.get_text() for text in top1.get_legend().get_texts()] == list(lines)
    assert top1.get_xlabel() == rate.get_xlabel() == "epoch"
    assert rate.get_legend() is None
