"""Nested draws of few labels, and the choice inside one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ssl_zoo.evaluation import fit_nested, fraction_of, per_class
from ssl_zoo.evaluation.few_shot import place_in_class
from ssl_zoo.evaluation.logistic import Solution
from ssl_zoo.types import UserError


def labels(seed: int = 0) -> Tensor:
    """1000 labels of 5 classes of unlike sizes; the last has 4."""
    counts = torch.tensor([500, 300, 150, 46, 4])
    generator = torch.Generator().manual_seed(seed)
    return torch.repeat_interleave(torch.arange(5), counts)[
        torch.randperm(1000, generator=generator)
    ]


def fit_alone(x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> tuple[Solution, float]:
    """`fit_nested` on all rows."""
    return fit_nested(x, y, [torch.ones_like(y, dtype=torch.bool)], *args, **kwargs)[0]


def counts_of(y: Tensor, rows: Tensor) -> list[int]:
    return y[rows].bincount(minlength=5).tolist()


# --- subsets --------------------------------------------------------------------------------------


def test_places_are_a_permutation_of_each_class() -> None:
    y = labels()
    place = place_in_class(y, 3)
    for label in range(5):
        assert sorted(place[y == label].tolist()) == list(range(int((y == label).sum())))


def test_subsets_are_stratified() -> None:
    y = labels()
    assert counts_of(y, fraction_of(y, 0.01, 0)) == [5, 3, 2, 1, 1]  # 1.5 and 0.46 and 0.04
    assert counts_of(y, fraction_of(y, 0.1, 0)) == [50, 30, 15, 5, 1]
    assert counts_of(y, per_class(y, 10, 0)) == [10, 10, 10, 10, 4]
    assert torch.equal(fraction_of(y, 1.0, 0), torch.arange(1000))


@pytest.mark.parametrize("draw", [0, 7])
def test_subsets_are_nested(draw: int) -> None:
    y = labels()
    for small, large in ((0.01, 0.1), (0.1, 0.3), (0.3, 1.0)):
        inner, outer = (set(fraction_of(y, f, draw).tolist()) for f in (small, large))
        assert inner < outer
    for small, large in ((1, 2), (2, 5), (5, 20)):
        inner, outer = (set(per_class(y, n, draw).tolist()) for n in (small, large))
        assert inner < outer


def test_draws_differ_repeat_and_leave_the_global_generator_alone() -> None:
    y, state = labels(), torch.get_rng_state()
    draws = [per_class(y, 5, draw) for draw in range(5)]
    assert all(torch.equal(rows, per_class(y, 5, draw)) for draw, rows in enumerate(draws))
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(rows.tolist()) for rows in draws}) == 5
    # over many draws every image of a class comes about as often as any other
    first = torch.stack([place_in_class(y[:200], draw) == 0 for draw in range(400)]).float()
    size = y[:200].bincount()[y[:200]].float()
    assert float((first.mean(0) * size)[size > 20].std()) < 0.7


def test_subsets_refuse_what_makes_no_sense() -> None:
    for fraction in (0.0, 1.5):
        with pytest.raises(UserError, match=f"fraction {fraction}; give a number above 0"):
            fraction_of(labels(), fraction, 0)
    with pytest.raises(UserError, match="0 per class; give at least 1"):
        per_class(labels(), 0, 0)


# --- the choice inside a subset -------------------------------------------------------------------


def test_the_choice_is_that_of_a_loop_over_the_folds() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = (torch.nn.functional.one_hot(y, 8) + torch.randn(60, 8, generator=generator)).double()
    strengths = [3.0, 0.3, 0.03, 0.003]
    solution, chosen = fit_alone(x, y, 3, strengths, 1.0, folds=4)
    fold = place_in_class(y, 0) % 4
    assert fold.bincount().tolist() == [15, 15, 15, 15]
    correct = []
    for strength in strengths:
        hits = 0.0
        for k in range(4):
            inside = (fold != k).numpy()
            model = LogisticRegression(C=1 / (strength * 45), tol=1e-8, max_iter=10_000)
            model.fit(x[inside].numpy(), y[inside].numpy())
            hits += model.score(x[~inside].numpy(), y[~inside].numpy()) * 15
        correct.append(round(hits))
    best = [s for s, hits in zip(strengths, correct, strict=True) if hits == max(correct)]
    assert len(set(correct)) > 1
    assert chosen in best
    model = LogisticRegression(C=1 / (chosen * 60), tol=1e-10, max_iter=10_000)
    weight = torch.from_numpy(model.fit(x.numpy(), y.numpy()).coef_.T)
    torch.testing.assert_close(solution.weight, weight, rtol=0, atol=1e-3)


@pytest.mark.parametrize("width", [8, 200])  # fewer features than rows, and more
def test_subsets_together_are_the_subsets_alone(width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = (torch.nn.functional.one_hot(y, width) + torch.randn(90, width, generator=generator)) * 1.0
    x, strengths = x.double(), [3.0, 0.3, 0.03, 0.003]
    sizes = [per_class(y, n, 0) for n in (1, 2, 5, 20)]
    subsets = [torch.isin(torch.arange(90), rows) for rows in sizes]
    together = fit_nested(x, y, subsets, 3, strengths, 0.7, folds=4, tolerance=1e-8)
    assert together[0][1] == 0.7
    for rows, (solution, chosen) in zip(sizes, together, strict=True):
        alone, strength = fit_alone(x[rows], y[rows], 3, strengths, 0.7, folds=4, tolerance=1e-8)
        assert chosen == strength
        assert solution.gradient <= 1e-8
        assert solution.loss == pytest.approx(alone.loss, abs=1e-10)
        torch.testing.assert_close(solution.weight, alone.weight, rtol=0, atol=1e-5)


def test_one_image_of_a_class_takes_the_default() -> None:
    x = torch.eye(5).double()
    assert fit_alone(x, torch.tensor([0, 0, 1, 1, 2]), 3, [1.0, 0.1], 0.7)[1] == 0.7
    assert fit_alone(x[:4], torch.tensor([0, 0, 2, 2]), 3, [1.0, 0.1], 0.7)[1] in (1.0, 0.1)
    with pytest.raises(UserError, match="1 folds; give at least 2"):
        fit_alone(x, torch.tensor([0, 0, 1, 1, 2]), 3, [1.0], 0.7, folds=1)
