"""Linear evaluation: a grid of linear classifiers trained at once on cached features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_zoo.evaluation.knn import labelled_rows
from ssl_zoo.types import UserError

# The 13 of DINOv2 times 10, and three above: on standardised features the best then lies inside.
LEARNING_RATES = (
    *(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
    *(5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
MOMENTUM = 0.9
_VAL_ROWS = 1024


@dataclass(frozen=True)
class LinearGrid:
    """The head that is best on validation data, and how the others did.

    Attributes:
        weight: (D, C), for standardised features.
        bias: (C,).
        mean: (D,), of the training features.
        std: (D,), of the training features; 1 where they are constant.
        learning_rate: The best head's.
        weight_decay: The best head's.
        val_top1: (H,) accuracy in [0, 1] of each head, learning rates outermost and weight decays
            innermost, in the order given; NaN for a head that diverged.
        on_edge: Whether the best learning rate is the least or greatest of several, so that a
            wider grid might do better.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    learning_rate: float
    weight_decay: float
    val_top1: Tensor
    on_edge: bool

    def predict(self, features: Tensor) -> Tensor:
        """Logits (N, C) of features (N, D) of any float type."""
        x = (features.to(self.weight.dtype) - self.mean) / self.std
        return x @ self.weight + self.bias


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std of each dimension; std 1 where it is no more than rounding noise."""
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    std = variance.sqrt()
    noise = 1e-6 * features.abs().amax(0)
    return mean, torch.where(std > noise, std, torch.ones_like(std))


def _inputs(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Standardised features with a column of ones, whose weights are the biases: (n, D + 1)."""
    x = (features - mean) / std
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def _residual(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy, (softmax - one-hot) / n: (n, C, H) -> (n, C, H)."""
    residual = logits.softmax(1)
    residual[torch.arange(len(labels), device=labels.device), labels] -= 1
    return residual / len(labels)


def _validate(
    weights: Tensor, x: Tensor, y: Tensor, statistics: tuple[Tensor, Tensor], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and top-1 of each head: two (H,), NaN for heads that diverged."""
    loss: Tensor = torch.zeros((), dtype=weights.dtype, device=weights.device)
    correct: Tensor = torch.zeros((), dtype=weights.dtype, device=weights.device)
    for rows, labels in zip(torch.split(x, _VAL_ROWS), torch.split(y, _VAL_ROWS), strict=True):
        inputs = _inputs(rows.to(weights.dtype), *statistics)
        logits = (inputs @ weights).view(len(inputs), num_classes, -1)
        truth = labels[:, None, None].expand(-1, 1, logits.shape[2])
        loss = loss - logits.log_softmax(1).gather(1, truth).sum((0, 1))
        correct = correct + (logits.argmax(1) == labels[:, None]).sum(0)
    top1 = torch.where(loss.isfinite(), correct / len(x), torch.nan)
    return loss / len(x), top1


def _best(loss: Tensor, top1: Tensor) -> int:
    """The head of highest top-1 that did not diverge; of equals, the one of lowest loss."""
    ranked = zip(top1.tolist(), (-loss).tolist(), range(len(top1)), strict=True)
    healthy = [entry for entry in ranked if not math.isnan(entry[0])]
    if not healthy:
        raise UserError(
            f"linear evaluation: all {len(top1)} heads diverged; lower the learning rates"
        )
    return max(healthy, key=lambda entry: entry[:2])[2]


def _split(features: Tensor, labels: Tensor, num_classes: int, name: str) -> tuple[Tensor, Tensor]:
    """The labelled rows of a split, checked."""
    name = f"linear evaluation, {name}"
    x, y = labelled_rows(features, labels, num_classes, name)
    if not x.isfinite().all():
        raise UserError(f"{name}: features hold NaN or infinity; check that pretraining went well")
    return x, y


@torch.no_grad()
def fit_linear(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    num_classes: int,
    learning_rates: Sequence[float] = LEARNING_RATES,
    weight_decays: Sequence[float] = (0.0, 1e-4),
    epochs: int = 100,
    batch_size: int = 1024,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> LinearGrid:
    """The best on validation data of linear classifiers for each learning rate and weight decay.

    All H heads start at zero and train at once on the same batches: SGD with momentum 0.9, mean
    cross-entropy, the learning rate falling to 0 along a cosine, step by step. Features are
    standardised with the training statistics, so that one grid suits every method. Rows labelled
    -1 are left out. The best head has the highest top-1; of equals, the lowest loss.

    Args:
        train_features: (N, D), any float type; computed in float32 or wider, on their device.
        train_labels: (N,) int64.
        val_features: (M, D). Test data must not be used here.
        val_labels: (M,) int64.
        num_classes: C.
        learning_rates: Tried with every weight decay.
        weight_decays: L2 factors, on weights and biases as in `torch.optim.SGD`.
        epochs: Passes over the training features.
        batch_size: Rows a step; the last batch of an epoch may be smaller.
        seed: Of the batch order, epochs of `torch.randperm` from one CPU generator.
        progress: Called as `progress(epochs done, epochs)` after each epoch.

    Returns:
        The best head, its setting, and every head's validation accuracy.

    Raises:
        UserError: A split has no labelled row, a label of `num_classes` or more, or a feature that
            is not finite; the grid is empty; or all heads diverged.

    Source: Oquab et al. 2023 (DINOv2), for the grid; He et al. 2022 (MAE), App. A.1, for
    the normalised input.
    """
    grid = list(itertools.product(learning_rates, weight_decays))
    if not grid or epochs < 1 or batch_size < 1:
        raise UserError(
            f"linear evaluation: {len(grid)} heads, epochs {epochs}, batch_size {batch_size}; "
            "each must be at least 1"
        )
    x, y = _split(train_features, train_labels, num_classes, "train")
    x_val, y_val = _split(val_features, val_labels, num_classes, "val")
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    statistics = _statistics(x)

    # All heads lie side by side as columns, class by class, so that a step is two matrix products.
    rates, decays = (x.new_tensor(values).repeat(num_classes) for values in zip(*grid, strict=True))
    weights = x.new_zeros(x.shape[1] + 1, num_classes * len(grid))
    velocity = torch.zeros_like(weights)
    generator = torch.Generator().manual_seed(seed)  # its own: the global one stays untouched
    step, steps = 0, epochs * math.ceil(len(x) / batch_size)
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for index in torch.split(order, batch_size):
            inputs = _inputs(x[index], *statistics)
            logits = (inputs @ weights).view(len(inputs), num_classes, -1)
            gradient = inputs.T @ _residual(logits, y[index]).flatten(1)
            velocity.mul_(MOMENTUM).add_(gradient.addcmul_(decays, weights))
            factor = 0.5 * (1 + math.cos(math.pi * step / steps))
            weights.addcmul_(rates, velocity, value=-factor)
            step += 1
        if progress is not None:
            progress(epoch + 1, epochs)

    loss, top1 = _validate(weights, x_val, y_val, statistics, num_classes)
    best = _best(loss, top1)
    winner = weights.view(len(weights), num_classes, -1)[..., best]
    rate, weight_decay = grid[best]
    several = len(set(learning_rates)) > 1
    return LinearGrid(
        weight=winner[:-1].clone(),
        bias=winner[-1].clone(),
        mean=statistics[0],
        std=statistics[1],
        learning_rate=rate,
        weight_decay=weight_decay,
        val_top1=top1,
        on_edge=several and rate in (min(learning_rates), max(learning_rates)),
    )
