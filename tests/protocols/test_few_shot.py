"""The few-shot protocol sees no label outside its draws."""

from __future__ import annotations

from statistics import mean, stdev

import pytest
import torch

from helpers.protocols import planted, protocol, small_candidate
from ssl_zoo.evaluation import per_class
from ssl_zoo.evaluation.features import Features
from ssl_zoo.types import UserError

QUICK = {"strengths": [1.0, 0.01], "draws": 2}


def blobs(seed: int, count: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    noise = 0.7 * torch.randn(count, 8, generator=generator)
    return Features(torch.nn.functional.one_hot(y, 8) + noise, y)


@pytest.mark.slow
def test_row() -> None:
    candidate = planted(blobs(0, 400), blobs(1, 80), blobs(2, 200), 4)
    row = protocol("few_shot", strengths=[1.0, 0.1, 0.01]).score(candidate)
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
    first = ("test_balanced_top1_1pct", "test_top5_1pct")
    assert protocol("few_shot").columns == (*(f"test_top1_{name}" for name in names), *first)


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
    candidate = small_candidate()
    row = protocol("few_shot", **QUICK, fractions=[0.01], per_class=[1]).score(candidate)
    assert row["classes_raised_to_one"] == {"1pct": 5}  # of 32 images each, 0.32
    assert row["1pct"]["num_labels"] == 5
    assert "classes that would get no image get one: {'1pct': 5}" in caplog.text
    again = protocol("few_shot", **QUICK, fractions=[0.01], per_class=[1]).score(small_candidate())
    assert again == row
    other_seed = protocol("few_shot", **QUICK, fractions=[0.01], per_class=[1])
    assert other_seed.score(small_candidate(seed=5)) == row  # draws are shared by all runs


def test_knobs_that_make_no_sense() -> None:
    for knobs, said in (
        ({"draws": 1}, "draws=1: must be at least 2"),
        ({"fractions": [], "per_class": []}, "give fractions, per_class or both"),
        ({"folds": 1}, "folds=1: must be at least 2"),
        ({"per_class": 5}, r"per_class=5: must be a list, such as \[5\]"),
        ({"fractions": [2.0]}, r"fraction 2.0; give a number above 0"),
    ):
        with pytest.raises(UserError, match=said):
            protocol("few_shot", **knobs)
