"""The linear protocol on cached features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.protocols import noisy, planted, protocol, small_candidate
from ssl_zoo.evaluation.linear import LEARNING_RATES
from ssl_zoo.protocols.linear import Linear


def test_linear_takes_the_head_that_is_worst_on_test() -> None:
    settings: Any = (40, 1024, [1e-4, 1.0], [0.0])
    candidate = planted(noisy(0, True), noisy(2, False), noisy(1, True), 2)
    row = Linear(*settings).score(candidate)
    assert row["learning_rate"] == 1e-4
    other = planted(noisy(0, True), noisy(1, True), noisy(1, True), 2)
    best_on_test = Linear(*settings).score(other)
    assert best_on_test["learning_rate"] == 1.0
    assert row["test_top1"] < best_on_test["test_top1"]
    assert sum(row["test_top1_by_class"]) / 2 == pytest.approx(row["test_top1"])


def test_the_grid_is_that_of_the_library() -> None:
    grids = [protocol(name) for name in ("linear", "linear_augmented")]
    assert all(grid.learning_rates == list(LEARNING_RATES) for grid in grids)
    assert all(grid.weight_decays == [0.0, 1e-4] for grid in grids)


def test_pictures_of_the_grid_and_of_classes(tmp_path: Path) -> None:
    candidate = small_candidate(figure_stem=tmp_path / "linear")
    protocol("linear", epochs=2).score(candidate)
    protocol("logistic", strengths=[1.0, 0.1]).score(candidate)
    names = {path.name.removeprefix("linear_") for path in tmp_path.iterdir()}
    assert names == {"confusion.png", "grid.png", "per_class.png", "strengths.png"}
