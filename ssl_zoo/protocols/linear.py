"""A grid of linear heads on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_zoo.console import warn
from ssl_zoo.data import DataModule
from ssl_zoo.evaluation import LinearGrid, fit_linear
from ssl_zoo.evaluation.linear import LEARNING_RATES
from ssl_zoo.figures import draw_grid, save
from ssl_zoo.protocols.base import Protocol, check_shared_classes, listed
from ssl_zoo.protocols.candidate import Candidate
from ssl_zoo.protocols.classification import COLUMNS, score_on_test, shared_features


class Linear(Protocol):
    """Heads are trained on train, one is chosen on val, and that one is scored on test once.

    Args:
        epochs: Passes over the cached features.
        batch_size: Rows per step.
        learning_rates: Tried with every weight decay, on features standardised by train.
        weight_decays: L2 factors.

    Source: Oquab et al. 2023 (DINOv2), for the grid; see `fit_linear`.
    """

    headline, columns = COLUMNS[0], COLUMNS

    def __init__(
        self,
        epochs: int,
        batch_size: int,
        learning_rates: Sequence[float] = LEARNING_RATES,
        weight_decays: Sequence[float] = (0.0, 1e-4),
    ) -> None:
        self.learning_rates = listed(learning_rates, "learning_rates")
        self.weight_decays = listed(weight_decays, "weight_decays")
        self.epochs, self.batch_size = epochs, batch_size

    def check(self, data: DataModule) -> None:
        check_shared_classes(data, len(self.learning_rates) * len(self.weight_decays))

    def score(self, candidate: Candidate) -> dict[str, Any]:
        """`val_top1` and `test_top1` of the chosen head, its settings, and each class's top-1."""
        train, val, _ = shared_features(candidate)
        with candidate.bar("linear heads") as progress:
            grid = fit_linear(
                *train,
                *val,
                candidate.data.num_train_classes,
                self.learning_rates,
                self.weight_decays,
                self.epochs,
                self.batch_size,
                candidate.seed,
                progress,
            )
        return grid_row(grid, candidate, self.learning_rates, self.weight_decays)


def grid_row(
    grid: LinearGrid,
    candidate: Candidate,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float],
) -> dict[str, Any]:
    """Scores of a grid's best head, for which test is read here only, and their pictures."""
    if grid.on_edge:
        rate = f"the best learning rate, {grid.learning_rate:g}"
        warn(f"{candidate.name}: {rate}, is at an end of the grid")
    chosen_on_val = bool(grid.val_top1.isfinite().any())
    if chosen_on_val and (path := candidate.figure("grid")) is not None:
        shape = (len(learning_rates), len(weight_decays))
        chosen = (grid.learning_rate, grid.weight_decay)
        save(draw_grid(grid.val_top1.view(shape), learning_rates, weight_decays, chosen), path)
    return {
        "val_top1": float(grid.val_top1.nan_to_num(0).max()) if chosen_on_val else None,
        **score_on_test(grid.predict, candidate),
        "learning_rate": grid.learning_rate,
        "weight_decay": grid.weight_decay,
        "on_edge": grid.on_edge,
    }
