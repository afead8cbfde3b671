"""A grid of linear heads on cached features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssl_zoo.evaluation import fit_linear
from ssl_zoo.evaluation.features import Features


class Linear:
    """Heads are trained on train, one is chosen on val, and that one reads test once.

    Args:
        epochs: Passes over the cached features.
        batch_size: Rows a step.
    """

    name = "linear"

    def __init__(self, epochs: int, batch_size: int) -> None:
        self.epochs, self.batch_size = epochs, batch_size

    def score(
        self,
        train: Features,
        val: Features,
        test: Features,
        num_classes: int,
        seed: int,
        progress: Callable[[int, int], None],
    ) -> dict[str, Any]:
        """`val_top1` and `test_top1` of the chosen head, and its settings."""
        grid = fit_linear(
            *train,
            *val,
            num_classes,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            progress=progress,
        )
        correct = grid.predict(test.representation).argmax(dim=1) == test.label
        return {
            "val_top1": float(grid.val_top1.nan_to_num(0).max()),
            "test_top1": float(correct.float().mean()),
            "learning_rate": grid.learning_rate,
            "on_edge": grid.on_edge,
            "weight_decay": grid.weight_decay,
        }
