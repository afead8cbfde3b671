"""Whether a study's settings make sense. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssl_zoo.config import nearest, options_of
from ssl_zoo.metric_names import VAL
from ssl_zoo.study.clock import seconds_of
from ssl_zoo.types import UserError, as_typed

if TYPE_CHECKING:
    from ssl_zoo.study.settings import Settings

SOBOL = "sobol"
# The names of Optuna's samplers in lower case, without "Sampler".
OPTUNA = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
}
SAMPLERS = (SOBOL, *OPTUNA)
GUARDS = tuple(f"G{number}" for number in range(1, 13))
UNITS = ("images", "views", "pixels", "seconds")
_LEAST_BUDGET = 60.0  # seconds
LAUNCHERS = ("local", "submitit")
_LISTS = ("common", "overrides", "protocols", "held", "allow_differ", "waive")


def check_settings(settings: Settings) -> None:
    """Refuse values that make no sense.

    Raises:
        UserError: Naming the knob, its value and what it must be.
    """
    _check_numbers(settings)
    if not isinstance(settings.submitit, dict):
        raise UserError(
            f"submitit={as_typed(settings.submitit)}: give submitit.slurm_partition=NAME ..."
        )
    for knob in _LISTS:
        _list_of_texts(knob, getattr(settings, knob))
    _check_methods(settings)
    for knob in ("floors", "ceiling", "oracle"):
        if not isinstance(getattr(settings, knob), bool):
            raise UserError(f"{knob}={as_typed(getattr(settings, knob))}: give true or false")
    _one_of("sampler", settings.sampler, SAMPLERS)
    _one_of("unit", settings.unit, UNITS)
    _one_of("launcher", settings.launcher, LAUNCHERS)
    if not str(settings.metric).startswith(VAL):
        raise UserError(
            f"metric={settings.metric}: configurations are selected on val, as by val/knn_top1"
        )
    _check_protocols(settings.protocols)
    for guard in settings.waive:
        _one_of("waive", guard.upper(), GUARDS)
    _check_folds(settings.folds)
    if not isinstance(settings.out, str | None):
        raise UserError(f"out={as_typed(settings.out)}: give a folder, or null")
    if settings.budget is not None:
        _check_budget(settings)


def _check_numbers(settings: Settings) -> None:
    for knob, least in (("trials", 1), ("seeds", 2), ("study_seed", 0)):
        _whole(knob, getattr(settings, knob), least)
    if settings.jobs is not None:
        _whole("jobs", settings.jobs, 1)
    if not isinstance(settings.rerun, dict) or set(settings.rerun) != {"configs", "seeds"}:
        raise UserError(
            f"rerun={as_typed(settings.rerun)}: give rerun.configs=N rerun.seeds=N, or in a file "
            "{configs: N, seeds: N}"
        )
    for knob in ("configs", "seeds"):
        _whole(f"rerun.{knob}", settings.rerun[knob], 0)


def _check_protocols(protocols: list[str]) -> None:
    if not protocols:
        raise UserError("protocols=[]: give at least one, as in [knn]")
    for name in protocols:
        if name not in options_of("protocol"):
            raise UserError(
                f"protocols={name} is not a protocol: {nearest(name, options_of('protocol'))}"
            )
    if len({*protocols}) < len(protocols):
        raise UserError(f"protocols={as_typed(protocols)}: one is there twice")


def _check_methods(settings: Settings) -> None:
    """Refuse names that one folder would hold, and a method that none of train.py's is chosen for.

    train.py's default would be trained under its name.
    """
    lower = [name.lower() for name in settings.methods]
    if twice := [name for name in settings.methods if lower.count(name.lower()) > 1]:
        raise UserError(
            f"methods: {' and '.join(twice)} differ by upper case only, which not every disk tells "
            "apart: rename one"
        )
    known = options_of("method")
    for name, own in settings.methods.items():
        for one in settings.overrides:
            if (knob := one.partition("=")[0].lstrip("+")) in {**settings.search, **own["search"]}:
                raise UserError(
                    f"{one}: {knob} is searched for {name}, and its trials would not have this: "
                    "remove it, or take it out of what the study's file searches"
                )
        given = [one.partition("=")[0] for one in settings.overrides_of(name)]
        if "method" not in given:
            raise UserError(
                f"methods.{name} is not a method of train.py: {nearest(name, known)} (or say "
                f"which it is: {name}: {{overrides: [method=...]}})"
            )


def _check_budget(settings: Settings) -> None:
    if seconds_of(settings.budget) < _LEAST_BUDGET:
        raise UserError(
            f"budget={settings.budget} is too short: two methods with two trials and two seeds are "
            "eight runs and their scores; give budget=5min or more"
        )
    if settings.sampler != SOBOL:
        raise UserError(
            f"sampler={settings.sampler}: a study with a budget ends its search for all methods at "
            "once, as soon as it has to; give sampler=sobol, or budget=null"
        )


def _check_folds(folds: Any) -> None:
    if folds is None:
        return
    _list_of_texts("folds", folds)
    if len(folds) < 2 or len({*folds}) < len(folds) or not all("=" in one for one in folds):
        raise UserError(
            f"folds={as_typed(folds)}: give different overrides, as in "
            "[dataset.fold=0, dataset.fold=1], or null"
        )


def _whole(knob: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        quoted = isinstance(value, str) and value.isdigit()  # a text, as YAML reads "3"
        shown = repr(value) if quoted else as_typed(value)
        raise UserError(f"{knob}={shown}: give a whole number of at least {least}")


def _list_of_texts(knob: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError(f"{knob}={as_typed(value)}: give a list of texts")


def _one_of(knob: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{knob}={as_typed(value)} is unknown: {nearest(str(value), known)}")
