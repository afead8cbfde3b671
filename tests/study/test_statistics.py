"""The numbers of a comparison against closed forms, scipy, and simulated studies."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from ssl_zoo.study import statistics as s
from ssl_zoo.types import BadValue

A = {1: 0.61, 2: 0.64, 3: 0.60, 4: 0.66, 5: 0.63}
B = {1: 0.60, 2: 0.61, 3: 0.59, 4: 0.62, 5: 0.61}


def test_two_methods_are_a_paired_t_test() -> None:
    found = s.compare({"b": B, "a": A})
    (pair,) = found.differences
    test = stats.ttest_rel(list(A.values()), list(B.values()))
    assert (pair.first, pair.second, pair.n, pair.ahead) == ("a", "b", 5, 5.0)
    assert pair.p == pytest.approx(test.pvalue, rel=1e-9)
    assert pair.adjusted == pair.p  # a single pair
    low, high = test.confidence_interval(0.95)
    assert pair.interval == pytest.approx((low, high), rel=1e-9)
    assert pair.better
    assert found.undecided == ["a"]
    mean = stats.t.interval(0.95, 4, np.mean(list(A.values())), stats.sem(list(A.values())))
    assert found.spreads["a"].interval == pytest.approx(mean, rel=1e-9)


def test_lower_scores_can_be_better() -> None:
    found = s.compare({"a": A, "b": B}, lowest=True)
    assert found.best == "b"
    assert found.differences[0].first == "b"
    assert found.differences[0].mean == pytest.approx(fmean(A.values()) - fmean(B.values()))


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, max(0.06, 0.03 * 2), max(0.06, 0.04)
    assert s.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert s.holm([0.9, 0.8]) == [1.0, 1.0]
    assert s.holm([]) == []


def test_three_methods_are_corrected_over_all_pairs() -> None:
    shift = {1: 0.3, 2: 0.1, 3: 0.2, 4: 0.15, 5: 0.25}
    scores = {"a": A, "b": B, "c": {seed: B[seed] - shift[seed] for seed in B}}
    found = s.compare(scores)
    raw = [
        stats.ttest_rel(list(scores[d.first].values()), list(scores[d.second].values())).pvalue
        for d in found.differences
    ]
    assert [d.p for d in found.differences] == pytest.approx(raw)
    assert [d.adjusted for d in found.differences] == pytest.approx(s.holm(raw))
    # 95% of all three together: each at 1 - 0.05 / 3
    pair = found.between("a", "b")
    assert pair.interval is not None
    half = stats.t.ppf(1 - 0.05 / 6, 4) * stats.sem([A[seed] - B[seed] for seed in A])
    assert pair.interval[1] - pair.mean == pytest.approx(half)


def test_holm_decides_what_its_interval_alone_would_not() -> None:
    seeds = range(6)
    noise = [0.0, 0.01, -0.01, 0.02, -0.02, 0.0]
    scores = {
        "a": dict.fromkeys(seeds, 0.9),
        "b": {i: 0.9 - 0.017 - noise[i] for i in seeds},
        "c": {i: 0.1 + 0.1 * noise[i] for i in seeds},
    }
    pair = s.compare(scores).between("a", "b")
    assert pair.adjusted is not None
    assert pair.p is not None
    assert 0.05 / 3 < pair.p <= pair.adjusted <= 0.05
    assert pair.better
    assert pair.interval is not None
    assert 0 < pair.interval[0] < 1e-300  # cut above 0: it says what the verdict says


def test_one_seed_says_nothing() -> None:
    found = s.compare({"a": {1: 0.6}, "b": {1: 0.5}})
    (pair,) = found.differences
    assert (pair.interval, pair.p, pair.better) == (None, None, False)
    assert pair.note == "one seed in common: nothing can be said"
    assert found.undecided == ["a", "b"]


def test_two_seeds_are_a_t_of_one_degree_of_freedom() -> None:
    (pair,) = s.compare({"a": {1: 0.6, 2: 0.7}, "b": {1: 0.5, 2: 0.65}}).differences
    assert pair.p == pytest.approx(stats.ttest_rel([0.6, 0.7], [0.5, 0.65]).pvalue)
    assert not pair.better


def test_equal_scores_are_no_difference() -> None:
    found = s.compare({"a": A, "b": dict(A)})
    (pair,) = found.differences
    assert (pair.mean, pair.p, pair.interval, pair.ahead) == (0, 1.0, (0.0, 0.0), 2.5)
    assert pair.probability == 0.5
    assert found.undecided == ["a", "b"]


def test_a_difference_without_spread_is_no_proof() -> None:
    """Scores on few images fall on the same steps; a t-test would call that certain."""
    scores = {"a": {1: 12 / 20, 2: 13 / 20}, "b": {1: 11 / 20, 2: 12 / 20}}
    scores = {m: {k: round(v * 4) / 4 for k, v in by.items()} for m, by in scores.items()}
    scores["a"] = {k: v + 0.25 for k, v in scores["b"].items()}
    (pair,) = s.compare(scores).differences
    assert (pair.p, pair.better) == (None, False)
    assert pair.note.startswith("the same for every seed")
    (pair,) = s.compare(scores, resolution=0.25).differences
    assert pair.p is not None
    assert pair.p == pytest.approx(stats.t.sf(0.25 / (0.25 / math.sqrt(12)), 1) * 2)
    assert not pair.better


def test_missing_seeds_and_methods_without_scores() -> None:
    found = s.compare({"a": A, "b": {seed: B[seed] for seed in (2, 4, 5)}, "lost": {}})
    assert set(found.spreads) == {"a", "b"}
    (pair,) = found.differences
    assert pair.n == 3
    assert pair.p == pytest.approx(stats.ttest_rel([0.64, 0.66, 0.63], [0.61, 0.62, 0.61]).pvalue)
    (pair,) = s.compare({"a": {1: 0.5}, "b": {2: 0.4}}).differences
    assert pair.note == "no seed in common: nothing can be said"
    with pytest.raises(BadValue, match="no score of any method"):
        s.compare({"a": {}})


def test_sampling_error_by_hand() -> None:
    # fair_comparison.md, 2.5: CIFAR-10 at 92% +- 0.53, STL-10 at 85% +- 0.78
    assert 100 * s.sampling_error(0.92, 10_000) == pytest.approx(0.53, abs=0.005)
    assert 100 * s.sampling_error(0.85, 8_000) == pytest.approx(0.78, abs=0.005)
    wilson = stats.binomtest(20, 20).proportion_ci(method="wilson")
    assert s.sampling_error(1.0, 20) == pytest.approx((wilson.high - wilson.low) / 2)
    for bad in ((0.5, 0), (1.5, 10)):
        with pytest.raises(BadValue):
            s.sampling_error(*bad)


def test_expected_best_by_hand_and_by_drawing() -> None:
    found = s.expected_best([3, 1, 5, 2, 4])
    assert found[0] == pytest.approx(3.0)
    assert found[1] == pytest.approx(3.8)
    assert found[4] == pytest.approx(
        sum(i * ((i / 5) ** 5 - ((i - 1) / 5) ** 5) for i in range(1, 6))
    )
    assert s.expected_best([3, 1, 2], lowest=True)[1] == pytest.approx((1 * 5 + 2 * 3 + 3) / 9)
    rng = np.random.default_rng(0)
    drawn = rng.choice([1, 2, 3, 4, 5], (40_000, 3)).max(axis=1).mean()
    assert found[2] == pytest.approx(drawn, abs=0.02)


def test_over_folds_by_hand() -> None:
    values = [0.5, 0.6, 0.55, 0.65]
    found = s.over_folds(values, 1 / 3)
    half = stats.t.ppf(0.975, 3) * math.sqrt((1 / 4 + 1 / 3) * np.var(values, ddof=1))
    assert found.interval == pytest.approx((0.575 - half, 0.575 + half))
    assert s.over_folds([0.5], 1 / 3).interval is None


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_simulated_studies_without_a_difference(level: float) -> None:
    """200 studies of 5 equal methods: seeds move all methods together, as data order does."""
    rng = np.random.default_rng(1)
    false, means, differences, together = 0, [], [], []
    for study in range(200):
        n = 3 + study % 8
        shared = rng.normal(0, 0.02, n)
        scores = {
            f"m{i}": {j: float(level + shared[j] + rng.normal(0, 0.01)) for j in range(n)}
            for i in range(5)
        }
        found = s.compare(scores)
        false += any(pair.better for pair in found.differences)
        for spread in found.spreads.values():
            assert spread.interval is not None
            means.append(spread.interval[0] <= level <= spread.interval[1])
        covers = []
        for pair in found.differences:
            assert pair.interval is not None
            covers.append(pair.interval[0] <= 0 <= pair.interval[1])
            assert pair.better != covers[-1]  # intervals and verdicts agree
        differences += covers
        together.append(all(covers))
        assert found.undecided[0] == found.best
    assert false / 200 <= 0.07
    assert fmean(means) >= 0.93
    assert fmean(differences) >= 0.93
    assert fmean(together) >= 0.93  # a reader looks at all of them, and then at the largest


@pytest.mark.slow
def test_simulated_studies_with_differences() -> None:
    """Each interval holds where some methods differ, and no equal pair is decided too often."""
    rng = np.random.default_rng(2)
    truth = [0.0, 0.0, 0.1, 0.2, 0.3]
    false, covered = 0, []
    for study in range(200):
        n = 3 + study % 8
        shared = rng.normal(0, 0.02, n)
        scores = {
            f"{i}": {j: float(truth[i] + shared[j] + rng.normal(0, 0.01)) for j in range(n)}
            for i in range(5)
        }
        for pair in s.compare(scores).differences:
            true = truth[int(pair.first)] - truth[int(pair.second)]
            assert pair.interval is not None
            covered.append(pair.interval[0] <= true <= pair.interval[1])
            false += pair.better and true <= 0
    assert false / 200 <= 0.07
    assert fmean(covered) >= 0.95
