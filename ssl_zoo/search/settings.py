"""The settings of a search, checked: those of conf/hydra/sweeper/optuna.yaml. No torch."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import flatten, own_folders
from ssl_zoo.metric_names import METRICS, OBJECTIVES, metric_named
from ssl_zoo.types import UserError

Direction = Literal["maximize", "minimize"]

_KEY = "hydra.sweeper"
_WORDS: dict[str, Direction] = {"max": "maximize", "min": "minimize"}
_BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


class Settings(NamedTuple):
    """What a search is told beside its overrides.

    Attributes:
        n_trials: Of the whole search, those that failed not counted.
        n_jobs: Trials at a time.
        direction: maximize or minimize.
        objective: The metric that is searched for; None = the first objective that is logged.
        study_name: None = one of its own.
        storage: None = a journal in the sweep's folder.
        max_failure_rate: The share of failed trials at which the search stops.
        params: Overrides, from the config.
        sampler: Its config.
        pruner: Its config.
    """

    n_trials: int
    n_jobs: int
    direction: Direction
    objective: str | None
    study_name: str | None
    storage: str | None
    max_failure_rate: float
    params: list[str]
    sampler: dict[str, Any]
    pruner: dict[str, Any]


def settings_of(config: DictConfig) -> Settings:
    """Read them.

    Args:
        config: Of the multirun, with `hydra`.

    Raises:
        UserError: If a value makes no sense.
    """
    node: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    for name in ("n_trials", "n_jobs"):
        if not isinstance(node[name], int) or isinstance(node[name], bool) or node[name] < 1:
            raise UserError(f"{_KEY}.{name}={node[name]}: must be a whole number, at least 1")
    rate = node["max_failure_rate"]
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise UserError(f"{_KEY}.max_failure_rate={rate}: must be between 0 and 1")
    seed = node["sampler"].get("seed")
    whole = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32
    if seed is not None and not whole:
        raise UserError(
            f"{_KEY}.sampler.seed={seed}: give a whole number from 0 to {2**32 - 1}, or null"
        )
    if node["n_jobs"] > 1 and config.hydra.launcher._target_ == _BASIC:
        raise UserError(
            f"{_KEY}.n_jobs={node['n_jobs']}: this launcher runs one after another: add "
            "hydra/launcher=joblib, or start the same command with the same sweep=NAME once more"
        )
    if not isinstance(node["params"] or {}, dict):
        raise UserError(f"{_KEY}.params={node['params']}: give KNOB: VALUE pairs")
    params = [f"{key}={value}" for key, value in flatten(node["params"] or {}).items()]
    return Settings(
        n_trials=node["n_trials"],
        n_jobs=node["n_jobs"],
        direction=_direction(node["direction"], config.get("objective")),
        objective=config.get("objective"),
        study_name=_text(node, "study_name"),
        storage=_text(node, "storage"),
        max_failure_rate=float(rate),
        params=params,
        sampler=node["sampler"],
        pruner=node["pruner"],
    )


def _text(node: dict[str, Any], name: str) -> str | None:
    value = node[name]
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise UserError(f"{_KEY}.{name}={value}: give a name, or null")
    return value


def _direction(given: Any, objective: str | None) -> Direction:
    if given not in (None, *_WORDS.values()):
        raise UserError(f"{_KEY}.direction={given}: maximize or minimize")
    metric = metric_named(objective or OBJECTIVES[0].name)
    own = _WORDS[metric.objective or "max"]
    if metric in METRICS and given not in (None, own):
        raise UserError(
            f"{_KEY}.direction={given} would search for the worst {metric.name}: leave it out"
        )
    direction: Direction = given or own
    return direction


def config_dir(given: list[str]) -> list[str]:
    """--config-dir as it was given, which is none of the overrides."""
    folders = [place.removeprefix("file://") for place in own_folders if place[:7] == "file://"]
    return [
        text
        for folder in folders
        if not any(folder in one for one in given)
        for text in ("--config-dir", folder)
    ]
