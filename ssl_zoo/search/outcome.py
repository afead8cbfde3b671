"""What became of a trial's run, and what Optuna is told of it. Imports no torch."""

from __future__ import annotations

import math
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import Trial, TrialState

from ssl_zoo.metric_names import objective_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search.link import was_pruned

_GOES_ON = ("running", "interrupted")
_FAILED, _FINISHED, _PRUNED = "failed", "finished", "pruned"
NO_OBJECTIVE = "no objective was logged"


class Outcome(NamedTuple):
    """The end of a run.

    Attributes:
        status: As in its result.json.
        state: What Optuna is told; RUNNING where the run has not ended.
        value: Its objective, where it counts.
        seconds: That it took.
        error: Why it failed.
        metric: The objective's name, where it was logged.
    """

    status: str
    state: TrialState
    value: float | None = None
    seconds: float = 0.0
    error: str = ""
    metric: str = ""


def outcome_of(run: RunFolder, objective: str | None) -> Outcome:
    """What a run's folder says.

    A run that diverged, or did not fit into memory, is a result of its point, which Optuna shall
    keep away from: to a sampler that is a pruned trial, and a failed one would be nothing.

    Args:
        run: The folder.
        objective: The metric that is searched for; None = the first objective that was logged.
    """
    result = run.read_result()
    status = str(result.get("status", "interrupted"))
    seconds, error = float(result.get("seconds", 0.0)), str(result.get("error", ""))
    if status in _GOES_ON:
        return Outcome(status, TrialState.RUNNING, None, seconds)
    if status == _FAILED:
        return Outcome(status, TrialState.FAIL, None, seconds, error)
    metrics = result.get("metrics", {})
    metric = objective_of(metrics, objective)
    name = metric.name if metric else ""
    value = metrics.get(name)
    if value is None and status == _FINISHED:
        return Outcome(_FAILED, TrialState.FAIL, None, seconds, NO_OBJECTIVE)
    if was_pruned(run.path) or status == _PRUNED:
        return Outcome(_PRUNED, TrialState.PRUNED, None, seconds, metric=name)
    if value is None or not math.isfinite(value) or error:
        return Outcome(status, TrialState.PRUNED, None, seconds, error)
    return Outcome(status, TrialState.COMPLETE, float(value), seconds, metric=name)


def tell(study: Study, number: int, trial: int, outcome: Outcome) -> None:
    """Tell the study how a trial ended."""
    known = Trial(study, trial)
    known.set_user_attr("status", outcome.status)
    known.set_user_attr("seconds", outcome.seconds)
    if outcome.metric and study.user_attrs.get("objective") != outcome.metric:
        study.set_user_attr("objective", outcome.metric)
    study.tell(number, outcome.value, state=outcome.state)
