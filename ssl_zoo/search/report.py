"""What a search leaves: trials.csv, pictures of its course and of what mattered, the best trial."""

from __future__ import annotations

import csv
import shlex
import warnings
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ssl_zoo.metric_names import OBJECTIVES, Metric, metric_named
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search.settings import Settings, config_dir
from ssl_zoo.search.space import Space
from ssl_zoo.writing import write_text

TABLE, HISTORY, IMPORTANCE = "trials.csv", "history.png", "importance.png"
_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
_ONE_RUN = ("sweep=", "hydra.")  # no part of what repeats a single trial


def write_table(study: Study, space: Space, folder: Path, objective: str | None) -> None:
    """Write trials.csv: a row for each trial, in their order."""
    text = StringIO(newline="")
    table = csv.writer(text)
    names = [key.lstrip("+") for key in space.knobs]
    table.writerow(["trial", "status", _column(study, objective), *names, "epochs", "seconds"])
    for trial in study.get_trials(deepcopy=False):
        values = [_text(space, trial, key) for key in space.knobs]
        value = "" if (shown := value_of(trial)) is None else shown
        epochs = max(trial.intermediate_values, default="")
        seconds = trial.user_attrs.get("seconds", "")
        table.writerow([trial.number, status_of(trial, folder), value, *values, epochs, seconds])
    write_text(folder / TABLE, text.getvalue())


def _column(study: Study, objective: str | None) -> str:
    return objective or str(study.user_attrs.get("objective", OBJECTIVES[0].name))


def _text(space: Space, trial: FrozenTrial, key: str) -> str:
    return space.text(key, trial.params[key]) if key in trial.params else ""


def status_of(trial: FrozenTrial, folder: Path) -> str:
    """The status of its run, which says more than Optuna's state."""
    state = _STATES.get(trial.state, "waiting")
    if trial.state == TrialState.RUNNING:
        return str(RunFolder(folder / str(trial.number)).read_result().get("status", state))
    return str(trial.user_attrs.get("status", state))


def value_of(trial: FrozenTrial) -> float | None:
    """A trial's value, of a pruned one its last; None where it ended with NaN, or failed."""
    counts = trial.state == TrialState.COMPLETE or trial.user_attrs.get("status") == "pruned"
    return trial.value if counts else None


def write_pictures(study: Study, space: Space, folder: Path, objective: str | None) -> None:
    """Draw the course of the search, and which knobs its values depend on."""
    from ssl_zoo.figures import save

    trials = study.get_trials(deepcopy=False)
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        return
    save(_history(study, trials, metric_named(_column(study, objective))), folder / HISTORY)
    done = sum(trial.state == TrialState.COMPLETE for trial in trials)
    label = f"share of the variance over {done} finished trials (fANOVA)"
    if not (weights := importance(study) if done > 1 else {}):
        weights = {key.lstrip("+"): 0.0 for key in space.knobs}
        label = f"not to be told from {done} finished trials: too few, or all alike"
    save(_importance(weights, label), folder / IMPORTANCE)


def importance(study: Study) -> dict[str, float]:
    """The share of the values' variance that each knob explains; empty where none can be told."""
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials, and of equal values
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # too few trials, or all alike
            return {}
    return {key.lstrip("+"): float(weight) for key, weight in found.items()}


def _history(study: Study, trials: list[FrozenTrial], metric: Metric) -> Any:
    """Each trial's value, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    from ssl_zoo.figures.canvas import BLUE, GREY, ORANGE, RED, panel

    scale = 100 if metric.is_share else 1
    figure, axis = panel(7, 4)
    done = [(t.number, scale * (t.value or 0.0)) for t in trials if t.state == TrialState.COMPLETE]
    pick = max if study.direction == StudyDirection.MAXIMIZE else min
    best = [pick(value for _, value in done[: i + 1]) for i in range(len(done))]
    numbers = [number for number, _ in done]
    axis.step([*numbers, trials[-1].number], [*best, best[-1]], where="post", color=ORANGE)
    axis.plot([], [], color=ORANGE, label="best so far")
    axis.plot(numbers, [value for _, value in done], "o", color=BLUE, markersize=5, label="trial")
    values = {t.number: value_of(t) for t in trials if t.state.is_finished()}
    cut = {n: v for n, v in values.items() if v is not None and n not in numbers}
    if cut:
        last = [scale * value for value in cut.values()]
        axis.plot([*cut], last, "x", color=GREY, markersize=5, label="pruned, its last value")
    without = [number for number, value in values.items() if value is None]
    if without:
        low = axis.get_ylim()[0]
        axis.plot(without, [low] * len(without), "|", color=RED, markersize=10, label="no value")
    axis.set_xlim(-0.5, max(trials[-1].number, 1) + 0.5)
    axis.set_xlabel("trial")
    axis.set_ylabel(f"{metric.name}, %" if metric.is_share else metric.name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize=8)
    return figure


def _importance(weights: dict[str, float], label: str) -> Any:
    """A bar for each knob, the largest on top."""
    from ssl_zoo.figures.canvas import BLUE, panel

    ordered = sorted(weights.items(), key=lambda item: item[1])
    figure, axis = panel(7, 1.2 + 0.4 * len(ordered))
    axis.barh([name for name, _ in ordered], [weight for _, weight in ordered], color=BLUE)
    for row, (_, weight) in enumerate(ordered):
        axis.text(weight, row, f" {weight:.2f}", va="center", fontsize=9)
    axis.set_xlim(0, 1.1 * max(max(weights.values()), 0.01))
    axis.set_xlabel(label)
    axis.grid(axis="x", alpha=0.3)
    return figure


def say_best(study: Study, space: Space, folder: Path, settings: Settings) -> None:
    """Print how many trials ended how, and the best with the command that repeats it.

    Raises:
        UserError: If none has a value.
    """
    trials = study.get_trials(deepcopy=False)
    counts = Counter(status_of(trial, folder) for trial in trials)
    said = ", ".join(f"{number} {status}" for status, number in counts.items())
    print(f"search in {folder}: {len(trials)} trials: {said}", flush=True)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not done:
        return print("no trial has finished: there is no best one", flush=True)
    best = study.best_trial
    metric = metric_named(_column(study, settings.objective))
    print(f"best: trial {best.number}, {metric.name} {metric.shown(best.value or 0.0)}", flush=True)
    kept = [one for one in space.overrides(best.params) if not one.startswith(_ONE_RUN)]
    command = ["python", "train.py", *config_dir(kept)]
    print(f"repeat it:       {shlex.join([*command, *kept])}", flush=True)
    alone = [one for one in kept if not one.startswith("seed=")]
    print(f"over more seeds: {shlex.join([*command, '-m', *alone, 'seed=0,1,2'])}", flush=True)
