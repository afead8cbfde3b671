"""Logistic regression against scikit-learn's optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn.functional import cross_entropy

from helpers.protocols import noisy, protocol, small_candidate
from ssl_zoo.evaluation import fit_logistic, newton, softmax
from ssl_zoo.evaluation.linear import statistics
from ssl_zoo.evaluation.logistic import Solution, path_of, solutions_of, solve
from ssl_zoo.evaluation.softmax import prepare
from ssl_zoo.types import UserError

Rows = tuple[Tensor, Tensor]


def blobs(count: int, num_classes: int = 4, spread: float = 1.0, seed: int = 0) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, 6, generator=torch.Generator().manual_seed(9))
    y = torch.arange(count) % num_classes
    x = centres[y] + spread * torch.randn(count, 6, generator=generator)
    return (x * torch.tensor([1e-3, 1, 5, 100, 1, 1]) + 3).double(), y


def standardized(x: Tensor) -> Tensor:
    mean, std = statistics(x)
    return (x - mean) / std


def objective(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, strength: float) -> float:
    return float(cross_entropy(x @ weight + bias, y) + strength / 2 * weight.square().sum())


def scikit_learn(x: Tensor, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    model = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=100_000)
    model.fit(x.numpy(), y.numpy())
    return torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_)


def unbalanced() -> Rows:
    x, y = blobs(300)
    keep = (y != 1) | (torch.arange(300) < 10)
    return x[keep], y[keep]


def with_constants() -> Rows:
    x, y = blobs(120)
    return torch.cat([x, torch.full((120, 2), 7.0)], dim=1), y


def wide() -> Rows:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 40, generator=generator).double(), torch.arange(12) % 3


PROBLEMS = {
    "overlapping": blobs(200),
    "separable": blobs(80, spread=0.05),
    "unbalanced": unbalanced(),
    "constant features": with_constants(),
    "more features than rows": wide(),
}


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_reaches_scikit_learns_loss(problem: Rows, strength: float) -> None:
    x, y = standardized(problem[0]), problem[1]
    num_classes = int(y.max()) + 1
    ours = solve(x, y, num_classes, strength)
    theirs = scikit_learn(x, y, strength)
    assert ours.gradient <= 1e-7
    assert ours.loss == pytest.approx(objective(x, y, ours.weight, ours.bias, strength), abs=1e-12)
    assert ours.loss <= objective(x, y, *theirs, strength) + 1e-6
    assert ours.loss >= objective(x, y, *theirs, strength) - 1e-6
    probability = (x @ ours.weight + ours.bias).softmax(1)
    expected = (x @ theirs[0] + theirs[1]).softmax(1)
    torch.testing.assert_close(probability, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("strength", [1.0, 1e-3, 1e-6])
def test_many_blocks_reach_the_same_loss(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Sure rows are left out of products, and float32 finds the way, where there are many blocks.
    for module in (softmax, newton):
        monkeypatch.setattr(module, "BLOCK", 32)
    x, y = blobs(400, spread=0.5)
    x = standardized(x)
    ours, theirs = solve(x, y, 4, strength), scikit_learn(x, y, strength)
    assert ours.gradient <= 1e-7
    assert ours.loss == pytest.approx(objective(x, y, ours.weight, ours.bias, strength), abs=1e-12)
    assert ours.loss == pytest.approx(objective(x, y, *theirs, strength), abs=1e-6)


@pytest.mark.parametrize("most_turned", [0, 1000])  # each direction is turned, or the rows once
def test_rows_in_either_basis_reach_the_same_optimum(
    most_turned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "_TURNED", most_turned)
    for module in (softmax, newton):
        monkeypatch.setattr(module, "BLOCK", 32)
    x, y = blobs(400)
    x = standardized(x)
    rows = prepare(x, y)
    assert (rows.basis is None, rows.turn is None) == (most_turned == 0, most_turned != 0)
    weight, bias = scikit_learn(x, y, 1e-2)
    cold = solve(x, y, 4, 1e-2)
    warm = solve(x, y, 4, 1e-2, start=Solution(weight, bias, 0.0, 0.0), max_iterations=20)
    for ours in (cold, warm):
        assert ours.gradient <= 1e-7
        torch.testing.assert_close(ours.weight, weight, rtol=0, atol=1e-4)


def test_a_weak_strength_takes_few_products(monkeypatch: pytest.MonkeyPatch) -> None:
    # With more curvature left out, steps are too long near the end: 157 and 190 products.
    for module in (softmax, newton):
        monkeypatch.setattr(module, "BLOCK", 128)
    data = load_digits()
    x, y = torch.from_numpy(data.data), torch.from_numpy(data.target)
    rows = prepare(standardized(x), y)
    keep, strengths = torch.ones(1, len(x), dtype=torch.bool), [1e-2, 1e-3, 1e-4, 1e-5]
    path = path_of(rows, keep, 10, strengths, 1e-7, max_iterations=135)
    assert all(float(point.largest) <= 1e-7 for point in path)


@pytest.mark.parametrize("problem", ["overlapping", "more features than rows"])
def test_folds_together_are_the_folds_alone(problem: str) -> None:
    x, y = PROBLEMS[problem]
    x, fold, strengths = standardized(x), torch.arange(len(y)) // 3 % 2, [1.0, 1e-1, 1e-2, 1e-4]
    rows, keep = prepare(x, y), fold != torch.arange(2)[:, None]
    path = path_of(rows, keep, int(y.max()) + 1, strengths, 1e-7, 5000)
    for strength, point in zip(strengths, path, strict=True):
        for held_out, solution in enumerate(solutions_of(rows, point)):
            inside = fold != held_out
            alone = solve(x[inside], y[inside], int(y.max()) + 1, strength)
            assert solution.gradient <= 1e-7
            assert solution.loss == pytest.approx(alone.loss, abs=1e-9)


def test_two_classes_are_scikit_learns_at_half_the_strength() -> None:
    x, y = blobs(100, num_classes=2)
    x = standardized(x)
    ours = solve(x, y, 2, 0.1)
    weight, bias = scikit_learn(x, y, 0.05)
    torch.testing.assert_close(
        ours.weight[:, 1] - ours.weight[:, 0], weight[:, 0], rtol=0, atol=1e-5
    )
    torch.testing.assert_close(ours.bias[1] - ours.bias[0], bias[0], rtol=0, atol=1e-5)


def test_a_start_changes_the_way_and_not_the_end() -> None:
    x, y = blobs(200)
    x = standardized(x)
    far = Solution(torch.ones(6, 4).double() * 3, torch.arange(4.0).double(), 0.0, 0.0)
    cold, warm = solve(x, y, 4, 1e-3), solve(x, y, 4, 1e-3, start=far)
    torch.testing.assert_close(warm.weight, cold.weight, rtol=0, atol=1e-4)
    near = solve(x, y, 4, 1e-3, start=cold, max_iterations=1)
    assert near.gradient <= 1e-7


def test_path_and_fit_to_train_and_val_on_digits() -> None:
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))[:700]
    x, y = torch.from_numpy(data.data[order]), torch.from_numpy(data.target[order])
    strengths = (1e-4, 1.0, 1e-2)  # in any order
    fit = fit_logistic(x[:400], y[:400], x[400:550], y[400:550], 10, strengths)
    scaler = StandardScaler().fit(x[:400].numpy())
    inputs = torch.from_numpy(scaler.transform(x.numpy()))
    expected = []
    for strength in (1.0, 1e-2, 1e-4):
        weight, bias = scikit_learn(inputs[:400], y[:400], strength)
        logits = inputs[400:550] @ weight + bias
        expected.append(float((logits.argmax(1) == y[400:550]).double().mean()))
    assert fit.val_top1 == pytest.approx(expected, abs=1e-12)
    assert fit.strength == (1.0, 1e-2, 1e-4)[int(np.argmax(expected))]

    both = torch.from_numpy(StandardScaler().fit(x[:550].numpy()).transform(x.numpy()))
    weight, bias = scikit_learn(both[:550], y[:550], fit.strength)
    torch.testing.assert_close(fit.predict(x[550:]), both[550:] @ weight + bias, rtol=0, atol=2e-2)
    assert fit.converged
    assert fit.gradient <= 1e-7


def test_val_chooses_and_the_edge_is_told() -> None:
    train, val = noisy(0, shared=True), noisy(2, shared=False)
    strengths = [100.0, 1e-4]  # a weak one learns to subtract the noise, which val does not share
    by_val = fit_logistic(*train, *val, 2, strengths)
    by_test = fit_logistic(*train, *noisy(1, shared=True), 2, strengths)
    assert (by_val.strength, by_test.strength) == (100.0, 1e-4)
    assert by_val.on_edge
    assert not fit_logistic(*train, *val, 2, [1.0]).on_edge


def test_what_does_not_converge_is_told(caplog: pytest.LogCaptureFixture) -> None:
    fit: Any = fit_logistic(*blobs(200), *blobs(40, seed=1), 4, [1e-4], max_iterations=2)
    assert not fit.converged
    assert fit.gradient > 1e-7
    row = protocol("logistic", strengths=[1e-6], max_iterations=2).score(small_candidate())
    assert not row["converged"]
    assert "raise max_iterations" in caplog.text


def test_unlabelled_rows_are_left_out_and_progress_is_told() -> None:
    x, y = blobs(100)
    expected = fit_logistic(x[10:60], y[10:60], x[70:], y[70:], 4, [1.0, 0.1])
    y = y.clone()
    y[:10], y[60:70] = -1, -1
    calls: list[tuple[int, int]] = []
    fit = fit_logistic(
        x[:60], y[:60], x[60:], y[60:], 4, [1.0, 0.1], progress=lambda *call: calls.append(call)
    )
    assert torch.equal(fit.weight, expected.weight)
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_user_errors() -> None:
    x, y = blobs(20)
    for strengths in ([], [0.0, 1.0]):
        with pytest.raises(UserError, match=r"strengths \[.*\]; give some, all above 0"):
            fit_logistic(x, y, x, y, 4, strengths)
    with pytest.raises(UserError, match="val: features hold NaN"):
        fit_logistic(x, y, x * torch.nan, y, 4)
