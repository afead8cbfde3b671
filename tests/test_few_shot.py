"""Nested draws of few labels, and fits that see no other."""

from __future__ import annotations

from statistics import mean, stdev

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_linear_augmented import planted, protocol, small_task
from torch import Tensor

from ssl_zoo.evaluation import fit_few, fraction_of, per_class
from ssl_zoo.evaluation.features import Features
from ssl_zoo.evaluation.few_shot import place_in_class
from ssl_zoo.types import UserError

QUICK = {"strengths": [1.0, 0.01], "draws": 2}


def labels(seed: int = 0) -> Tensor:
    """1000 labels of 5 classes of unlike sizes; the last has 4."""
    counts = torch.tensor([500, 300, 150, 46, 4])
    generator = torch.Generator().manual_seed(seed)
    return torch.repeat_interleave(torch.arange(5), counts)[
        torch.randperm(1000, generator=generator)
    ]


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
    solution, chosen = fit_few(x, y, 3, strengths, 1.0, folds=4)
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


def test_one_image_of_a_class_takes_the_default() -> None:
    x = torch.eye(5).double()
    assert fit_few(x, torch.tensor([0, 0, 1, 1, 2]), 3, [1.0, 0.1], 0.7)[1] == 0.7
    assert fit_few(x[:4], torch.tensor([0, 0, 2, 2]), 3, [1.0, 0.1], 0.7)[1] in (1.0, 0.1)
    with pytest.raises(UserError, match="1 folds; give at least 2"):
        fit_few(x, torch.tensor([0, 0, 1, 1, 2]), 3, [1.0], 0.7, folds=1)


# --- the protocol ---------------------------------------------------------------------------------


def blobs(seed: int, count: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    noise = 0.7 * torch.randn(count, 8, generator=generator)
    return Features(torch.nn.functional.one_hot(y, 8) + noise, y)


def test_row() -> None:
    task = planted(blobs(0, 400), blobs(1, 80), blobs(2, 200), 4)
    row = protocol("few_shot", strengths=[1.0, 0.1, 0.01]).score(task)
    names = ["1pct", "10pct", *(f"{n}_per_class" for n in (1, 2, 5, 10, 20))]
    assert [row[name]["num_labels"] for name in names] == [4, 40, 4, 8, 20, 40, 80]
    for name in names:
        draws = row[name]["test_top1"]
        assert len(draws) == 5
        assert row[f"test_top1_{name}"] == row[name]["mean"] == pytest.approx(mean(draws))
        assert row[name]["s"] == pytest.approx(stdev(draws))
    assert row["1pct"]["strength"] == [0.1] * 5  # one image a class: the default
    assert row["1pct"]["test_top1"] == row["1_per_class"]["test_top1"]  # the same images
    assert row["10pct"]["test_top1"] == row["10_per_class"]["test_top1"]
    assert row["test_top1_20_per_class"] > row["test_top1_1_per_class"] + 0.1
    assert row["1pct"]["s"] > 0
    assert row["classes_raised_to_one"] == {}
    assert protocol("few_shot").headline == "test_top1_1pct"
    assert protocol("few_shot").columns == tuple(f"test_top1_{name}" for name in names)


def test_other_labels_are_not_seen() -> None:
    """Labels outside the draws, val's and test's change nothing but the score on test."""
    train, val, test = blobs(0, 400), blobs(1, 80), blobs(2, 200)
    run = protocol("few_shot", **QUICK, fractions=[], per_class=[5])
    row = run.score(planted(train, val, test, 4))
    drawn = torch.cat([per_class(train.label, 5, draw) for draw in range(2)])
    hidden = torch.ones(400, dtype=torch.bool)
    hidden[drawn] = False
    swapped = train.representation.clone()
    swapped[hidden] = swapped[hidden].flip(0)  # another class's features; the statistics stay
    other = run.score(
        planted(Features(swapped, train.label), val._replace(label=3 - val.label), test, 4)
    )
    assert other["5_per_class"]["test_top1"] == row["5_per_class"]["test_top1"]
    assert other["5_per_class"]["strength"] == row["5_per_class"]["strength"]
    wrong = run.score(planted(train, val, test._replace(label=3 - test.label), 4))
    assert wrong["5_per_class"]["strength"] == row["5_per_class"]["strength"]
    assert wrong["test_top1_5_per_class"] < 0.3 < row["test_top1_5_per_class"]


def test_a_class_that_would_get_none_gets_one_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="ssl_zoo")
    task = small_task()
    row = protocol("few_shot", **QUICK, fractions=[0.01], per_class=[1]).score(task)
    assert row["classes_raised_to_one"] == {"1pct": 5}  # of 32 images each, 0.32
    assert row["1pct"]["num_labels"] == 5
    assert "classes that would get none get one image: {'1pct': 5}" in caplog.text
    again = protocol("few_shot", **QUICK, fractions=[0.01], per_class=[1]).score(small_task())
    assert again == row
    other_seed = protocol("few_shot", **QUICK, fractions=[0.01], per_class=[1])
    assert other_seed.score(small_task(seed=5)) == row  # draws are shared by all runs


def test_knobs_that_make_no_sense() -> None:
    for knobs, said in (
        ({"draws": 1}, "draws=1: give at least 2"),
        ({"fractions": [], "per_class": []}, "give fractions, per_class or both"),
        ({"folds": 1}, "folds=1: give at least 2"),
        ({"per_class": 5}, r"per_class=5: give a list, such as \[5\]"),
        ({"fractions": [2.0]}, r"fraction 2.0; give a number above 0"),
    ):
        with pytest.raises(UserError, match=said):
            protocol("few_shot", **knobs)
