"""The numbers of a report, recomputed from the files of a study's runs. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ssl_zoo.metric_names import metric_named, of_setting
from ssl_zoo.multirun import Spread, spread_of
from ssl_zoo.run_folder import ENDED
from ssl_zoo.study.folder import CEILING, FINAL, FLOOR, HPO, METHOD, ORACLE, RERUN
from ssl_zoo.study.guards.equal import UNITS, amount_of
from ssl_zoo.study.reading import Reading, Run, Study
from ssl_zoo.study.statistics import (
    Comparison,
    compare,
    expected_best,
    over_folds,
    sampling_error,
)

# Samplers whose trials do not depend on the scores of earlier ones.
_INDEPENDENT = ("sobol", "random", "qmc", "halton")

_FEW_SEEDS = 3  # 95% intervals of 2 and 3 are 12.7 and 4.3 standard errors wide on either side
_ALL_LABELS = "100pct"  # of finetune's metrics


@dataclass(frozen=True)
class Suite:
    """The scores of a protocol on test.

    Attributes:
        name: Of the protocol.
        metric: Its headline.
        lowest: Whether a lower score is better.
        is_share: Whether it is shown in %.
        scores: Of the final runs, by method and seed.
        sampling: Half of the 95% interval of a method's mean over other test images.
        images: Of test; 0 if it is not known.
        floors: Spreads of untrained features, by name.
        ceiling: Spread of the supervised runs; None without one.
        oracle: Of each method the best trial's number and score on test, and that of the selected.
        comparison: Of the methods; None without a score.
    """

    name: str
    metric: str
    lowest: bool
    is_share: bool
    scores: dict[str, dict[int, float]]
    sampling: dict[str, float]
    images: int
    floors: dict[str, Spread]
    ceiling: Spread | None
    oracle: dict[str, dict[int, float]]
    comparison: Comparison | None

    def best_trial(self, method: str) -> tuple[int, float] | None:
        """The trial with the best score on test, which nothing may be chosen by."""
        trials = self.oracle.get(method)
        if not trials:
            return None
        sign = -1 if self.lowest else 1
        best = max(trials, key=lambda trial: (sign * trials[trial], -trial))
        return best, trials[best]


def suites(study: Study) -> list[Suite]:
    """The headline of each protocol, the first one first."""
    headlines: dict[tuple[str, str], list[Reading]] = {}
    for reading in study.readings:
        if reading.score.is_headline:
            key = (reading.score.suite, reading.score.metric)
            headlines.setdefault(key, []).append(reading)
    order = [str(one) for one in study.settings.get("protocols") or []]

    def place(key: tuple[str, str]) -> int:
        suite = key[0].partition(",")[0]
        return order.index(suite) if suite in order else len(order)

    of_methods = [k for k, some in headlines.items() if any(r.score.kind == METHOD for r in some)]
    supervised = [r for some in headlines.values() for r in some if r.score.kind == CEILING]
    return [_suite(*key, headlines[key], supervised) for key in sorted(of_methods, key=place)]


def _suite(
    name: str, metric: str, readings: Sequence[Reading], supervised: Sequence[Reading]
) -> Suite:
    """A protocol's; the supervised runs are scored by another one, which has the same metric."""
    scores = _by_seed(readings, METHOD)
    images = max((r.score.num_test for r in readings if r.score.kind == METHOD), default=0)
    lowest = metric_named(metric).objective == "min"
    values = [value for by_seed in scores.values() for value in by_seed.values()]
    is_share = not lowest and all(0 <= value <= 1 for value in values)
    names = (metric, of_setting(metric, _ALL_LABELS))
    same = [reading for reading in supervised if reading.score.metric in names]
    ceiling = [value for by in _by_seed(same, CEILING).values() for value in by.values()]
    floors = {n: spread_of(list(by.values())) for n, by in _by_seed(readings, FLOOR).items()}
    return Suite(
        name=name,
        metric=metric,
        lowest=lowest,
        is_share=is_share,
        scores=scores,
        sampling=_sampling(readings) if is_share else {},
        images=images,
        floors=floors,
        ceiling=spread_of(ceiling) if ceiling else None,
        oracle=_oracle(readings),
        comparison=compare(scores, lowest, 1 / images if images and is_share else 0.0)
        if scores
        else None,
    )


def _by_seed(readings: Sequence[Reading], kind: str) -> dict[str, dict[int, float]]:
    """Scores of a kind by name and seed; of folds their mean."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for reading in readings:
        if reading.score.kind == kind:
            found[reading.score.method][reading.score.seed].append(reading.value)
    return {name: {s: fmean(v) for s, v in by.items()} for name, by in found.items()}


def _oracle(readings: Sequence[Reading]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for reading in readings:
        if reading.score.kind == ORACLE:
            found[reading.score.method][reading.score.trial].append(reading.value)
    return {name: {t: fmean(v) for t, v in by.items()} for name, by in found.items()}


def _sampling(readings: Sequence[Reading]) -> dict[str, float]:
    """By the interval that the protocol itself gives, as retrieval does over classes."""
    found: dict[str, list[float]] = defaultdict(list)
    for reading in readings:
        if reading.score.kind != METHOD:
            continue
        own = reading.row.get(f"{reading.score.metric}_interval")
        if isinstance(own, list) and len(own) == 2:
            found[reading.score.method].append((own[1] - own[0]) / 2)
        elif reading.score.num_test > 0:
            error = sampling_error(reading.value, reading.score.num_test)
            found[reading.score.method].append(error)
    return {name: fmean(errors) for name, errors in found.items()}


@dataclass(frozen=True)
class Spent:
    """What a method was given, all its runs together.

    Attributes:
        trials: Of the search.
        reruns: Of its best configurations.
        finals: Seeds of the selected one.
        failures: Runs that ended without a score.
        amounts: By unit; None where no run says it.
        peak_mib: The most memory that a run took.
        parameters: Of the method.
        backbone_parameters: Of its backbone.
    """

    trials: int
    reruns: int
    finals: int
    failures: int
    amounts: dict[str, float | None]
    peak_mib: float | None
    parameters: int | None
    backbone_parameters: int | None


def spent(study: Study, method: str) -> Spent:
    """What a method was given so far."""
    runs = [run for run in study.runs if run.row.method == method and (run.is_done or run.result)]
    stages = [run.row.stage for run in runs]
    amounts: dict[str, float | None] = {}
    for unit in UNITS:
        known = [amount for run in runs if (amount := amount_of(run, unit)) is not None]
        amounts[unit] = sum(known) if known else None
    failures = sum(run.is_done and run.status not in ENDED for run in runs)
    counts = (stages.count(HPO), stages.count(RERUN), stages.count(FINAL))
    most = [_largest(runs, name) for name in ("peak_mib", "parameters", "backbone_parameters")]
    whole = [None if number is None else int(number) for number in most[1:]]
    return Spent(*counts, failures, amounts, most[0], *whole)


def _largest(runs: Sequence[Run], name: str) -> float | None:
    return max((float(v) for run in runs if (v := run.fact(name)) is not None), default=None)


def best_of_k(study: Study) -> tuple[dict[str, list[float]], str]:
    """By method, the expected best on val of k trials; and why there is none, or ""."""
    sampler = str(study.settings.get("sampler") or "")
    if sampler not in _INDEPENDENT:
        return {}, (
            f"sampler={sampler} learns from earlier trials: the expected best of k needs trials "
            "that were drawn independently"
        )
    scores = {
        m: [study.first_score(m, trial) for trial in study.trial_numbers(m)] for m in study.methods
    }
    known = [score for values in scores.values() for score in values if score is not None]
    if not known:
        return {}, "no trial has a score yet"
    worst = max(known) if study.lowest else min(known)
    curves = {
        method: expected_best([worst if s is None else s for s in values], study.lowest)
        for method, values in scores.items()
        if any(score is not None for score in values)
    }
    return curves, ""


def on_val(study: Study, method: str, trial: int) -> Spread | None:
    """The scores on val of a trial: over its folds by the corrected t, else over its seeds."""
    runs = [run for run in study.of_trial(method, trial) if run.score is not None]
    folds: dict[int, list[float]] = defaultdict(list)
    seeds: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        folds[run.row.fold].append(run.score or 0.0)
        seeds[run.row.seed].append(run.score or 0.0)
    if len(folds) > 1:
        return over_folds([fmean(v) for v in folds.values()], 1 / (len(folds) - 1))
    return spread_of([fmean(v) for v in seeds.values()]) if seeds else None


def of_finals_on_val(study: Study, method: str) -> Spread | None:
    """The selected configuration on val again, over the seeds of the final runs."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for run in study.finals:
        if run.row.stage == FINAL and run.row.method == method and run.score is not None:
            seeds[run.row.seed].append(run.score)
    return spread_of([fmean(v) for v in seeds.values()]) if seeds else None


def certainty(suite: Suite) -> str:
    """How sure the winner is, in a sentence."""
    found = suite.comparison
    if found is None:
        return f"{suite.name}: no method has a score on test yet."
    best, rest = found.best, [name for name in found.undecided if name != found.best]
    mean = found.spreads[best].mean
    score = f"{100 * mean:.2f}%" if suite.is_share else f"{mean:.4f}"
    if len(found.spreads) == 1:
        return f"{best} is the only method with a score by {suite.name} ({score})."
    if min(spread.n for spread in found.spreads.values()) < 2:
        return (
            f"{best} has the best score by {suite.name} ({score}), with one seed of some method: "
            "nothing can be said about how sure that is."
        )
    if not rest:
        return (
            f"{best} is better than each other method by {suite.name} ({score}): with methods that "
            f"are equal, a study says this of one of them in 5% of cases at most.{_small(suite)}"
        )
    ahead = [found.between(best, other) for other in rest]
    counts = ", ".join(f"of {_other(d, best)} in {_times(d, best)}" for d in ahead[:4])
    return (
        f"Undecided: {best} has the best mean by {suite.name} ({score}), and is not shown to be "
        f"better than {', '.join(rest)} (ahead {counts} seeds).{_few(ahead)}"
    )


def _few(differences: list[Any]) -> str:
    """Where hardly any gap could be told from luck."""
    fewest = min(one.n for one in differences)
    if fewest > _FEW_SEEDS:
        return ""
    return (
        f" With so few seeds in common ({fewest}) even large gaps stay undecided: a study with "
        "seeds=5 tells more."
    )


def _small(suite: Suite) -> str:
    """Where the lead is less than what another test set would change."""
    found = suite.comparison
    assert found is not None
    lead = min(d.mean for d in found.differences if found.best in (d.first, d.second))
    error = suite.sampling.get(found.best)
    if error is None or lead >= error:
        return ""
    return (
        f" Its lead of {100 * lead:.2f} points is below the error of a test set of this size "
        f"(± {100 * error:.2f}): on other images of the kind the order may differ."
    )


def below_floors(suite: Suite) -> str:
    """Which methods are no better than what needs no training; "" if all are."""
    if suite.comparison is None:
        return ""
    sign = -1 if suite.lowest else 1
    lines = []
    for name, floor in suite.floors.items():
        spreads = suite.comparison.spreads.items()
        low = [method for method, one in spreads if sign * one.mean <= sign * floor.mean]
        if low:
            lines.append(f"no better than {name}: {', '.join(low)}")
    return f"By {suite.name} {'; '.join(lines)}." if lines else ""


def _other(difference: Any, name: str) -> str:
    return str(difference.second if difference.first == name else difference.first)


def _times(difference: Any, name: str) -> str:
    ahead = difference.ahead if difference.first == name else difference.n - difference.ahead
    return f"{ahead:g} of {difference.n}"
