"""G3, G10 and G11: what was selected follows from the runs, at their last step."""

from __future__ import annotations

import json
import math
from typing import Any

from ssl_zoo.metric_names import IMAGES_SCORED
from ssl_zoo.run_folder import ENDED
from ssl_zoo.study.dimensions import dimension_of
from ssl_zoo.study.folder import FINAL
from ssl_zoo.study.guards.of_test import time_of
from ssl_zoo.study.guards.outcome import Outcome
from ssl_zoo.study.reading import Reading, Run, Study, evaluations, in_words, seal_of, sha256_of

# Of a config: where a run is, how it is watched, and what its seed feeds.
_NOT_COMPARED = {"run_dir", "name", "resume", "seed", "sweep", "trust", "objective", "fold"}
_NOT_BELOW = ("logger.", "callbacks.", "monitor.", "trainer.default_root_dir")

# Of a row, what the run's own result.json says too.
_RECORDED = ("code", "data_sha", "device", "parameters", "images_seen", "views_seen", "views_sha")


def check_recomputed(study: Study, outcome: Outcome) -> None:
    """G3: from result.json, metrics.csv and config.yaml of each run, and from the seals."""
    for run in [*study.trials, *study.finals]:
        _check_run(study, run, outcome)
    for reading in study.readings:
        _check_reading(reading, outcome)
    selected = study.selection
    if not selected:
        outcome.wait("no selection is sealed yet")
        if any(run.row.stage == FINAL for run in study.finals):
            outcome.fail("finals.csv has final runs, and no selection is sealed")
        return
    if selected.get("seal") != seal_of(selected):
        outcome.fail("selection.json was changed after it was sealed: its seal does not fit")
    files = {"trials_sha": study.folder.trials, "plan_sha": study.folder.plan}
    for key, file in files.items():
        if selected.get(key) != sha256_of(file):
            outcome.fail(f"{file.name} was changed after the selection was sealed")
    _check_times(study, outcome)
    for method in study.methods:
        _check_selected(study, method, outcome)


def _check_run(study: Study, run: Run, outcome: Outcome) -> None:
    """A row against the run's folder."""
    row = run.row
    if not run.is_done or not row.folder:
        return
    if not run.result:
        if run.folder.path.is_dir() or row.status in ENDED:
            outcome.fail(f"{run.name} is {row.status} in the table, and has no result.json")
        return
    if run.status != row.status:
        outcome.fail(f"{run.name} is {row.status} in the table, {run.status} in its result.json")
    if row.stage == "ceiling":
        return
    if not same(run.score, row.score) and not _is_best(study, run):  # that is G11's
        outcome.fail(
            f"{run.name}: {study.metric} is {_shown(row.score)} in the table, "
            f"{_shown(run.score)} in its metrics.csv"
        )
    said = (run.result.get("metrics") or {}).get(study.metric)
    other = run.status in ENDED and said is not None and not same(said, row.score)
    if other and not _is_best(study, run):
        outcome.fail(
            f"{run.name}: {study.metric} is {_shown(row.score)} in the table, "
            f"{_shown(said)} in its result.json"
        )
    for name in _RECORDED:
        fact, said = run.facts.get(name), getattr(row, name)
        if fact is not None and said not in ("", None) and str(fact) != str(said):
            outcome.fail(f"{run.name}: {name} is {said} in the table, {fact} in its result.json")
    for knob, value in _values(row.values).items():
        has = run.of_config(knob)
        if run.config and not same_value(has, value):
            outcome.fail(f"{run.name}: {knob} is {value} in the table, {has} in its config.yaml")


def _check_reading(reading: Reading, outcome: Outcome) -> None:
    score = reading.score
    what = f"{score.method}, seed {score.seed}, {score.suite}, {score.metric}"
    if not reading.file:
        outcome.fail(f"results.csv: {what}: no JSON below {score.folder or '(none)'} has its id")
        return
    images = reading.row.get(IMAGES_SCORED, score.num_test)
    if score.metric.startswith("test_") and images != score.num_test:
        outcome.fail(
            f"results.csv: {what} is of {score.num_test} images, {reading.file} of {images}"
        )
    headline = reading.head.get("headline")
    if headline and score.is_headline != (score.metric == headline):
        outcome.fail(f"results.csv: {what}: the headline of {reading.file} is {headline}")
    known = reading.row.get(score.metric)
    if not same(known, score.value):
        said = f"{_shown(score.value)}, {reading.file} has {_shown(known)}"
        outcome.fail(f"results.csv: {what} is {said}")


def _check_times(study: Study, outcome: Outcome) -> None:
    """No trial ends after the seal, no final run starts before it."""
    sealed = time_of(study.selection.get("sealed"))
    if sealed is None:
        outcome.fail("selection.json does not say when it was sealed")
        return
    for run in study.trials:
        if (ended := time_of(run.row.ended)) and ended > sealed:
            outcome.fail(f"{run.name} ended at {run.row.ended}, after the selection was sealed")
    for run in study.finals:
        if (began := time_of(run.row.started)) and began < sealed:
            outcome.fail(f"{run.name} began at {run.row.started}, before the selection was sealed")


def _check_selected(study: Study, method: str, outcome: Outcome) -> None:
    """The best trial on val is the sealed one, and the final runs have its configuration."""
    sealed = (study.selection.get("methods") or {}).get(method)
    scores = {t: study.trial_score(method, t) for t in study.candidates(method)}
    known = {trial: score for trial, score in scores.items() if score is not None}
    if not sealed:
        if known:
            outcome.fail(f"{method}: it has scores on val, and nothing was selected for it")
        return
    trial, sign = sealed.get("trial"), -1 if study.lowest else 1
    if trial not in scores:
        outcome.fail(f"{method}: trial {trial} was selected, which is not among its candidates")
        return
    best = max(known, key=lambda t: (sign * known[t], -t), default=None)
    if best is not None and (trial not in known or known[best] * sign > known[trial] * sign + 1e-9):
        outcome.fail(
            f"{method}: trial {trial} was selected with {_shown(scores[trial])} on val; the best "
            f"is trial {best} with {_shown(known[best])}"
        )
    rows = [run.row for run in study.of_trial(method, int(trial))]
    if rows and _values(rows[0].values) != (sealed.get("values") or {}):
        outcome.fail(f"{method}: the sealed values are not those of trial {trial}")
    _check_final_configs(study, method, int(trial), outcome)


def _check_final_configs(study: Study, method: str, trial: int, outcome: Outcome) -> None:
    of_trial = next((run for run in study.of_trial(method, trial) if run.config), None)
    if of_trial is None:
        return
    expected = _compared(of_trial.config)
    for run in study.finals:
        if run.row.stage != FINAL or run.row.method != method or not run.config:
            continue
        has = _compared(run.config)
        other = [k for k in expected | has if expected.get(k) != has.get(k)]
        if other:
            outcome.fail(f"{run.name} differs from the selected trial {trial} in {in_words(other)}")


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in a trial and in the final runs of its configuration."""
    return {
        key: value
        for key, value in config.items()
        if key.rpartition(".")[2] not in (*_NOT_COMPARED, "skipped_list")
        and not key.startswith(_NOT_BELOW)
    }


def check_edges(study: Study, outcome: Outcome) -> None:
    """G10: a value at the end of its range: the best one may lie beyond."""
    for method, sealed in (study.selection.get("methods") or {}).items():
        for knob, written in study.dimensions(method).items():
            value = _number((sealed.get("values") or {}).get(knob))
            if value is not None and dimension_of(written).is_edge(value):
                outcome.warn(f"{method}: {knob}={value:.4g} is at the edge of {written}: widen it")
    if not study.selection:
        outcome.wait("no selection is sealed yet")


def check_stale(study: Study, outcome: Outcome) -> None:
    """G11: no score is the best over epochs, on val or on test."""
    if study.metric.endswith("_best"):
        outcome.fail(f"metric={study.metric} is the best over epochs: select by its last value")
    for run in [*study.trials, *study.finals]:
        if not run.curve or run.status not in ENDED or run.row.stage == "ceiling":
            continue
        step, value = run.curve[-1]
        if not same(run.row.score, value) and _is_best(study, run):
            outcome.fail(
                f"{run.name}: {_shown(run.row.score)} is the best of {study.metric} over epochs; "
                f"at the last step it is {_shown(value)}"
            )
        if step < run.last_step and run.row.score is not None:
            outcome.fail(
                f"{run.name}: {study.metric} was last measured at step {step}, the run went on to "
                f"{run.last_step}"
            )
    for reading in study.readings:
        if reading.score.metric.endswith("_best"):
            outcome.fail(f"results.csv has {reading.score.metric}, a best over epochs")
    for file, content in evaluations(study.folder):
        ckpts = content.get("ckpt")
        for ckpt in ckpts if isinstance(ckpts, list) else [ckpts]:
            if str(ckpt).endswith("best.ckpt"):
                place = file.relative_to(study.folder.path)
                outcome.fail(f"{place} scored {ckpt}, the luckiest epoch, instead of the last")


def _is_best(study: Study, run: Run) -> bool:
    """Whether the row has the best value of the curve, where that is not the last one."""
    if not run.curve or run.status not in ENDED:
        return False
    values = [value for _, value in run.curve]
    best = min(values) if study.lowest else max(values)
    return same(run.row.score, best) and not same(best, values[-1])


def same(one: object, other: object) -> bool:
    """Whether two scores are equal but for how they were written."""
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return one is None and other is None
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def same_value(one: object, other: object) -> bool:
    """Whether two values of a knob are the same."""
    numbers = _number(one), _number(other)
    if numbers[0] is not None and numbers[1] is not None:
        return same(*numbers)
    return str(one).lower() == str(other).lower()


def _number(value: object) -> float | None:
    try:
        return None if isinstance(value, bool) else float(str(value))
    except ValueError:
        return None


def _shown(value: object) -> str:
    return (
        f"{value:.4f}" if isinstance(value, float) else "no score" if value is None else str(value)
    )


def _values(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
