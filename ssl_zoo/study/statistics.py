"""What a comparison over seeds can say: intervals, paired differences, Holm. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev, variance
from typing import NamedTuple

from ssl_zoo.multirun import Spread, spread_of
from ssl_zoo.types import BadValue

ALPHA = 0.05  # of all the verdicts of a suite together
_Z = 1.959963984540054  # of 95%
_FEW = 5  # right or wrong images, below which a share is not about normal
_ABOVE_ZERO = math.ulp(0.0)

Scores = Mapping[str, Mapping[int, float]]  # by method and seed


class Difference(NamedTuple):
    """How far one method is ahead of another, over the seeds that both have.

    Attributes:
        first: The one with the better mean over these seeds.
        second: The other one.
        mean: Of the differences, never below 0.
        s: Their sample standard deviation; None of a single one.
        n: Seeds that both have.
        interval: Of the true mean, with at least 95%: it includes 0 unless `better`. Where no
            method differs from another, those of all pairs hold together with 95%, and with 90%
            however they differ. None if nothing can be said.
        p: Of a paired t-test; None if nothing can be said.
        adjusted: p by Holm over all pairs.
        better: Whether `first` is shown to be better than `second`.
        ahead: In how many seeds `first` is better; an equal pair of scores counts a half.
        note: Why nothing can be said; "" otherwise.
    """

    first: str
    second: str
    mean: float
    s: float | None
    n: int
    interval: tuple[float, float] | None
    p: float | None
    adjusted: float | None
    better: bool
    ahead: float
    note: str

    @property
    def probability(self) -> float:
        """P(first is better than second) of a seed, as it was found."""
        return self.ahead / self.n if self.n else math.nan


@dataclass(frozen=True)
class Comparison:
    """Methods over the same seeds.

    Attributes:
        spreads: The mean of each method, with its own 95% interval; the best mean first.
        differences: Of all pairs, in the order of `spreads`.
        undecided: The best method, and those that it is not shown to be better than.
    """

    spreads: dict[str, Spread]
    differences: list[Difference]
    undecided: list[str]

    @property
    def best(self) -> str:
        """The method of the best mean."""
        return next(iter(self.spreads))

    def between(self, one: str, other: str) -> Difference:
        """The difference of two methods."""
        return next(d for d in self.differences if {d.first, d.second} == {one, other})


def compare(scores: Scores, lowest: bool = False, resolution: float = 0.0) -> Comparison:
    """Compare all methods pair by pair, over the seeds that a pair shares.

    The best method is found in the same data, so that the verdicts are corrected over all pairs,
    not only over those to the best: where no method is better than another, one is called so in
    at most 5% of studies. Intervals are Bonferroni's; one that Holm decides and Bonferroni does
    not ends above 0.

    Args:
        scores: By method and seed; a method without scores is left out.
        lowest: Whether a lower score is better.
        resolution: Smallest possible step of a score, such as 1 over the images of test: scores
            that are equal only since they are coarse have a spread all the same.

    Raises:
        BadValue: If no method has a score.
    """
    sign = -1 if lowest else 1
    known = {name: dict(by_seed) for name, by_seed in scores.items() if by_seed}
    if not known:
        raise BadValue("scores", dict(scores), says="has no score of any method")
    means = {name: fmean(by_seed.values()) for name, by_seed in known.items()}
    names = sorted(known, key=lambda name: -sign * means[name])
    pairs = [
        _pair(one, other, known[one], known[other], sign, resolution)
        for one, other in combinations(names, 2)
    ]
    differences = _decided(pairs, resolution)
    beaten = {d.second for d in differences if d.better and d.first == names[0]}
    spreads = {name: spread_of(list(known[name].values())) for name in names}
    return Comparison(spreads, differences, [name for name in names if name not in beaten])


def _pair(
    one: str,
    other: str,
    scores: Mapping[int, float],
    others: Mapping[int, float],
    sign: int,
    resolution: float,
) -> Difference:
    """Of two methods, before Holm."""
    seeds = sorted(scores.keys() & others.keys())
    found = [sign * (scores[seed] - others[seed]) for seed in seeds]
    if found and fmean(found) < 0:
        one, other, found = other, one, [-value for value in found]
    ahead = sum(1.0 if value > 0 else 0.5 if value == 0 else 0.0 for value in found)
    n, mean = len(found), fmean(found) if found else math.nan
    s = stdev(found) if n > 1 else None
    note, p = _why_not(found), None
    if not note:
        error = _standard_error(found, resolution)
        if error == 0 and mean != 0:
            note = "the same for every seed: no spread to judge it by"
        else:
            p = 1.0 if mean == 0 else _two_sided(mean / error, n - 1)
    return Difference(one, other, mean, s, n, None, p, None, False, ahead, note)


def _why_not(found: Sequence[float]) -> str:
    if len(found) < 2:
        return ("no seed", "one seed")[len(found)] + " in common: nothing can be said"
    return ""


def _standard_error(values: Sequence[float], resolution: float) -> float:
    """Of a mean; each of two rounded scores brings the variance of its rounding."""
    rounding = 2 * resolution**2 / 12
    return math.sqrt(max(variance(values), rounding) / len(values))


def _two_sided(t: float, df: int) -> float:
    from scipy.special import stdtr  # slow to import

    return float(2 * stdtr(df, -abs(t)))


def _quantile(df: int, alpha: float) -> float:
    """Of Student's t: half an interval of 1 - alpha, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - alpha / 2))


def _decided(pairs: Sequence[Difference], resolution: float) -> list[Difference]:
    """The pairs with Holm's verdicts, and intervals that agree with them."""
    tested = [pair.p for pair in pairs if pair.p is not None]
    adjusted = iter(holm(tested))
    found = []
    for pair in pairs:
        if pair.p is None or pair.s is None:
            found.append(pair)
            continue
        q = next(adjusted)
        better = q <= ALPHA and pair.mean > 0
        error = math.sqrt(max(pair.s**2, resolution**2 / 6) / pair.n)
        half = _quantile(pair.n - 1, ALPHA / len(tested)) * error
        low, high = pair.mean - half, pair.mean + half
        if better:
            low = max(low, _ABOVE_ZERO)
        found.append(pair._replace(adjusted=q, better=better, interval=(low, high)))
    return found


def holm(p: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the same order: those up to 0.05 are rejected.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = least
    return adjusted


def sampling_error(share: float, n: int) -> float:
    """Half of the 95% interval of a share that was counted on n images.

    It is what other test images of the same kind would change, whatever the seed. By the normal
    approximation, and by Wilson's interval where fewer than 5 images are right or wrong.

    Args:
        share: In [0, 1]; a mean of scores in [0, 1] has at most this error.
        n: Images.

    Raises:
        BadValue: If there is no image, or it is no share.
    """
    if n < 1:
        raise BadValue("n", n, "at least 1")
    if not 0 <= share <= 1:
        raise BadValue("share", share, "in [0, 1]")
    spread = share * (1 - share) / n
    if min(share, 1 - share) * n >= _FEW:
        return _Z * math.sqrt(spread)
    return _Z * math.sqrt(spread + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)


def expected_best(values: Sequence[float], lowest: bool = False) -> list[float]:
    """The expected best of k of these trials, for k = 1, 2, ..., their number.

    Args:
        values: Scores of trials that were drawn independently of each other, not by a search that
            learns from them.
        lowest: Whether a lower score is better.

    Source: Dodge et al. 2019, "Show Your Work", equation 1.
    """
    n, ordered = len(values), sorted(values, reverse=lowest)
    weights = [
        [(i / n) ** k - ((i - 1) / n) ** k for i in range(1, n + 1)] for k in range(1, n + 1)
    ]
    return [sum(v * w for v, w in zip(ordered, row, strict=True)) for row in weights]


def over_folds(values: Sequence[float], ratio: float) -> Spread:
    """The spread of scores over folds, whose training images overlap.

    The interval is by the corrected resampled t: the variance of the mean is (1/n + ratio) s^2,
    not s^2/n, since folds that share images are not independent.

    Args:
        values: A score for each fold.
        ratio: Held-out images over training images of a fold, such as 1/3 with 4 folds.

    Source: Nadeau and Bengio 2003, "Inference for the Generalization Error", section 3.
    """
    plain = spread_of(values)
    if plain.s is None:
        return plain
    error = plain.s * math.sqrt(1 / plain.n + ratio)
    half = _quantile(plain.n - 1, ALPHA) * error
    return plain._replace(interval=(plain.mean - half, plain.mean + half))
