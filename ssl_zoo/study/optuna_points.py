"""Points by one of Optuna's samplers, which depend on the scores so far. Imports no torch.

A point depends on the study's seed, its own number and the trials before it only, so that it does
not matter how often a study was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssl_zoo.metric_names import metric_named
from ssl_zoo.study.checks import OPTUNA
from ssl_zoo.study.space import Dimension, Value, parsed
from ssl_zoo.types import UserError

_APART = 10_000  # seeds of a trial's sampler


def check_installed(sampler: str) -> None:
    """Before a study begins.

    Raises:
        UserError: If Optuna is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"sampler={sampler} is Optuna's: pip install 'ssl_zoo[optuna]', or leave it at sobol"
        ) from error


def next_point(
    dimensions: Sequence[Dimension],
    sampler: str,
    seed: int,
    history: Sequence[tuple[dict[str, Value], float | None]],
    metric: str,
) -> dict[str, Value]:
    """The point after these.

    Args:
        dimensions: What is searched.
        sampler: Its name in `checks.OPTUNA`.
        seed: Of the study.
        history: Of each trial before, in order, its values and its score.
        metric: What the scores are of.
    """
    if not dimensions:
        return {}
    import optuna

    from ssl_zoo.search.space import space_of  # imports Optuna

    space = space_of([f"{one.knob}={one.text}" for one in dimensions])
    lowest = metric_named(metric).objective == "min"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    drawn = getattr(optuna.samplers, OPTUNA[sampler])(seed=seed * _APART + len(history))
    study = optuna.create_study(direction="minimize" if lowest else "maximize", sampler=drawn)
    scores = [score for _, score in history if score is not None]
    worst = (max(scores) if lowest else min(scores)) if scores else 0.0
    for values, score in history:
        params = {knob: _param(space.knobs[knob], value) for knob, value in values.items()}
        value = worst if score is None else score  # of a run that diverged
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=space.knobs, value=value)
        )
    point = study.ask(space.knobs).params
    return {knob: parsed(space.text(knob, value)) for knob, value in point.items()}


def _param(source: Any, value: Value) -> Any:
    """A value as Optuna had it: of a choice, its text."""
    choices = getattr(source, "choices", None)
    if choices is None:
        return value
    return next((text for text in choices if parsed(text) == value), value)
