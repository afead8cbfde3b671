"""Linear evaluation: a grid of linear classifiers trained at once on cached features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import threshold

from ssl_zoo.evaluation.rows import choosing_rows, finite_rows
from ssl_zoo.ramps import half_cosine
from ssl_zoo.types import UserError

# DINOv2's 13 rates times 10, and three above: on standardised features the best is then inside.
LEARNING_RATES = (
    *(1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2),
    *(5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
MOMENTUM = 0.9
TRUST = 0.001
OPTIMIZERS = ("sgd", "lars")
_VAL_ROWS = 1024
_LEAST = 1e-30  # probability that counts; below 1e-38 products take ten times as long on some CPUs


@dataclass(frozen=True)
class LinearGrid:
    """The head that is best on validation data, and how the others did.

    Attributes:
        weight: (D, C), for standardised features.
        bias: (C,).
        mean: (D,), of the training features.
        std: (D,), of the training features; 1 for constant ones.
        learning_rate: The best head's.
        weight_decay: The best head's.
        val_top1: (H,) accuracy in [0, 1] of each head, learning rates outermost and weight decays
            innermost, in the order given; NaN for a head that diverged, or without val.
        on_edge: Whether the best learning rate is the smallest or largest of several, so that a
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


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and std of each dimension; std 1 if it is only rounding noise."""
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    std = variance.sqrt()
    noise = 1e-6 * features.abs().amax(0)
    return mean, torch.where(std > noise, std, torch.ones_like(std))


def _residual(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the mean cross-entropy, (softmax - one-hot) / n: (n, C, H) -> (n, C, H)."""
    residual: Tensor = threshold(logits.softmax(1), _LEAST, 0.0, inplace=True)
    residual[torch.arange(len(labels), device=labels.device), labels] -= 1
    return residual / len(labels)


def best_of(loss: Tensor, top1: Tensor) -> int:
    """The head with the highest top-1 that did not diverge; of ties, the lowest loss."""
    ranked = zip(top1.tolist(), (-loss).tolist(), range(len(top1)), strict=True)
    healthy = [entry for entry in ranked if not math.isnan(entry[0])]
    if not healthy:
        raise UserError(
            f"linear evaluation: all {len(top1)} heads diverged; lower the learning rates"
        )
    return max(healthy, key=lambda entry: entry[:2])[2]


class LinearHeads:
    """H linear classifiers that take each step on the same batch, with handwritten gradients.

    All heads are columns side by side, class by class, so that a step is two matrix products.
    They learn by mean cross-entropy and momentum 0.9; a head that diverges affects no other.

    Args:
        learning_rates: Tried with every weight decay.
        weight_decays: L2 factors, on weights and biases as in `torch.optim.SGD`.
        num_classes: C.
        statistics: Mean and std (D,) by which features are standardised; their dtype and device
            are the heads'.
        start: (D, C), the initial weights of all heads; None = zero. Biases start at zero.
        optimizer: "sgd", or "lars" = SGD with the gradients of weight and bias each scaled by
            0.001 |w| / (|g| + decay |w|), or by 1 if a norm is 0: apex's LARC without clipping.

    Raises:
        UserError: If the grid is empty or the optimizer unknown.

    Source: Oquab et al. 2023 (DINOv2), for many heads in one pass; You et al. 2017 (LARS).
    """

    def __init__(
        self,
        learning_rates: Sequence[float],
        weight_decays: Sequence[float],
        num_classes: int,
        statistics: tuple[Tensor, Tensor],
        start: Tensor | None = None,
        optimizer: str = "sgd",
    ) -> None:
        self.grid = list(itertools.product(learning_rates, weight_decays))
        if not self.grid:
            raise UserError("linear evaluation: 0 heads; give learning rates and weight decays")
        if optimizer not in OPTIMIZERS:
            known = " or ".join(OPTIMIZERS)
            raise UserError(f"linear evaluation: optimizer {optimizer} is unknown; use {known}")
        self.num_classes, self.statistics, self.optimizer = num_classes, statistics, optimizer
        mean = statistics[0]
        columns = zip(*self.grid, strict=True)
        self.rates, self.decays = (mean.new_tensor(c).repeat(num_classes) for c in columns)
        self.weights = mean.new_zeros(len(mean) + 1, num_classes * len(self.grid))
        if start is not None:
            self.weights[:-1] = start.to(mean).repeat_interleave(len(self.grid), dim=1)
        self.velocity = torch.zeros_like(self.weights)
        self._gradient = torch.empty_like(self.weights)  # the same memory in each step

    @torch.no_grad()
    def step(self, features: Tensor, labels: Tensor, factor: float) -> None:
        """One step of every head.

        Args:
            features: (n, D).
            labels: (n,) int64, none unlabelled.
            factor: Multiplies the learning rates, as the schedule says.
        """
        self.step_on(self.inputs(features), labels, factor)

    @torch.no_grad()
    def step_on(self, inputs: Tensor, labels: Tensor, factor: float) -> None:
        """The same on rows of `inputs(features)`, which need be made once only."""
        residual = _residual(self._by_head(inputs @ self.weights), labels).flatten(1)
        gradient = torch.mm(inputs.T, residual, out=self._gradient)
        trust = self._trust(gradient) if self.optimizer == "lars" else None
        gradient.addcmul_(self.decays, self.weights)
        if trust is not None:
            gradient.mul_(trust)
        self.velocity.mul_(MOMENTUM).add_(gradient)
        self.weights.addcmul_(self.rates, self.velocity, value=-factor)

    @torch.no_grad()
    def best(self, features: Tensor, labels: Tensor) -> LinearGrid:
        """The head that is best on these validation features (M, D) and labels (M,).

        A single head needs none: M may be 0.

        Raises:
            UserError: If all heads diverged.
        """
        if len(self.grid) == 1 and not len(labels):
            finite = bool(self.weights.isfinite().all())
            top1 = self.weights.new_full((1,), math.nan)
            best = best_of(top1, torch.zeros(1) if finite else top1)
        else:
            loss, top1 = self._validate(features, labels)
            best = best_of(loss, top1)
        winner = self._by_head(self.weights)[..., best]
        rate, weight_decay = self.grid[best]
        rates = {rate for rate, _ in self.grid}
        return LinearGrid(
            weight=winner[:-1].clone(),
            bias=winner[-1].clone(),
            mean=self.statistics[0],
            std=self.statistics[1],
            learning_rate=rate,
            weight_decay=weight_decay,
            val_top1=top1,
            on_edge=len(rates) > 1 and rate in (min(rates), max(rates)),
        )

    def inputs(self, features: Tensor) -> Tensor:
        """Standardised features with a column of ones, whose weights are the biases: (n, D + 1)."""
        mean, std = self.statistics
        x = features.new_ones(len(features), len(mean) + 1, dtype=mean.dtype)
        torch.sub(features.to(mean.dtype), mean, out=x[:, :-1]).div_(std)
        return x

    def _by_head(self, columns: Tensor) -> Tensor:
        """(n, C * H) -> (n, C, H)."""
        return columns.view(len(columns), self.num_classes, -1)

    def _trust(self, gradient: Tensor) -> Tensor:
        """LARC's ratio for each head's weight and for its bias, expanded to (D + 1, C * H)."""
        weights, gradient = self._by_head(self.weights), self._by_head(gradient)
        decay = self.decays[: len(self.grid)]
        parts = []
        for rows in (slice(None, -1), slice(-1, None)):
            w, g = (part[rows].flatten(0, 1).norm(dim=0) for part in (weights, gradient))
            ratio = torch.where((w > 0) & (g > 0), TRUST * w / (g + decay * w), 1.0)
            parts.append(ratio.expand_as(weights[rows]))
        return torch.cat(parts).flatten(1)

    def _validate(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and top-1 of each head: two (H,), NaN for heads that diverged."""
        loss = correct = self.weights.new_zeros(())
        chunks = zip(features.split(_VAL_ROWS), labels.split(_VAL_ROWS), strict=True)
        for rows, truth in chunks:
            logits = self._by_head(self.inputs(rows) @ self.weights)
            index = truth[:, None, None].expand(-1, 1, logits.shape[2])
            loss = loss - logits.log_softmax(1).gather(1, index).sum((0, 1))
            correct = correct + (logits.argmax(1) == truth[:, None]).sum(0)
        top1 = torch.where(loss.isfinite(), correct / len(labels), torch.nan)
        return loss / len(labels), top1


def cosine(step: int, steps: int) -> float:
    """Half a cosine from 1 to 0."""
    return half_cosine(1.0, 0.0, step, steps)


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
    """Linear classifiers for each learning rate and weight decay; the best on validation data.

    All H heads start at zero and train together on the same batches: SGD with momentum 0.9, mean
    cross-entropy, the learning rate falling to 0 along a cosine, step by step. Features are
    standardised with the training statistics, so that one grid suits every method. Rows labelled
    -1 are left out. The best head has the highest top-1; of ties, the lowest loss.

    Args:
        train_features: (N, D), any float type; computed in float32 or wider, on their device.
        train_labels: (N,) int64.
        val_features: (M, D). Test data must not be used here. M may be 0 if there is one head.
        val_labels: (M,) int64.
        num_classes: C.
        learning_rates: Tried with every weight decay.
        weight_decays: L2 factors, on weights and biases as in `torch.optim.SGD`.
        epochs: Passes over the training features.
        batch_size: Rows per step; the last batch of an epoch may be smaller.
        seed: For the batch order, epochs of `torch.randperm` from one CPU generator.
        progress: Called as `progress(epochs done, epochs)` after each epoch.

    Returns:
        The best head, its setting, and every head's validation accuracy.

    Raises:
        UserError: A split has no labelled row, a label of `num_classes` or more, or a feature that
            is not finite; the grid is empty; or all heads diverged.

    Source: Oquab et al. 2023 (DINOv2), for the grid; He et al. 2022 (MAE), App. A.1, for
    the normalised input.
    """
    if epochs < 1 or batch_size < 1:
        raise UserError(
            f"linear evaluation: epochs {epochs}, batch_size {batch_size}; each must be at least 1"
        )
    name = "linear evaluation"
    x, y = finite_rows(train_features, train_labels, num_classes, f"{name}, train")
    heads_tried = len(learning_rates) * len(weight_decays)
    val = (val_features, val_labels, num_classes, f"{name}, val")
    x_val, y_val = choosing_rows(*val, heads_tried)
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    heads = LinearHeads(learning_rates, weight_decays, num_classes, statistics(x))
    inputs = heads.inputs(x)
    batch = inputs.new_empty(min(batch_size, len(x)), inputs.shape[1])  # new memory is slow
    generator = torch.Generator().manual_seed(seed)  # its own: the global one is not used
    step, steps = 0, epochs * math.ceil(len(x) / batch_size)
    for epoch in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for index in torch.split(order, batch_size):
            index = index.to(inputs.device)
            rows = torch.index_select(inputs, 0, index, out=batch[: len(index)])
            heads.step_on(rows, y[index], cosine(step, steps))
            step += 1
        if progress is not None:
            progress(epoch + 1, epochs)
    return heads.best(x_val, y_val)
