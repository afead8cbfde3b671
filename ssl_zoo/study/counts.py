"""How many runs and readings a study has, and how long they take. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssl_zoo.study.folder import CEILING, FINAL, FLOOR, HPO, METHOD, ORACLE, RERUN
from ssl_zoo.study.pool import at_once
from ssl_zoo.study.settings import Settings

_READING = 3  # an evaluation takes about as long as this many passes of the monitors


def runs_of(settings: Settings) -> dict[str, int]:
    """How many runs each stage has, and how many readings of test."""
    methods, folds = len(settings.methods), len(settings.folds or [None])
    rerun = min(settings.rerun["configs"], settings.trials) * settings.rerun["seeds"]
    return {
        HPO: methods * settings.trials * folds,
        RERUN: methods * rerun * folds,
        FINAL: methods * settings.seeds * folds,
        CEILING: settings.seeds if settings.ceiling else 0,
        METHOD: methods * settings.seeds,
        FLOOR: settings.seeds if settings.floors else 0,
        ORACLE: methods * settings.trials if settings.oracle else 0,
    }


def run_seconds(method: Mapping[str, Any]) -> float:
    """What a run of a method takes, from its start to its end."""
    training = method["steps"] * method["seconds_per_step"]
    monitoring = method["monitorings"] * method["monitor_seconds"]
    return float(method["overhead_seconds"] + training + monitoring)


def reading_seconds(method: Mapping[str, Any]) -> float:
    """What an evaluation takes, roughly."""
    return float(method["overhead_seconds"] + _READING * method["monitor_seconds"])


def hours_of(settings: Settings, methods: Mapping[str, Mapping[str, Any]]) -> float:
    """What the whole study takes, with its runs side by side; the ceiling's rates are three."""
    one = {name: runs_of(settings)[name] / len(methods) for name in runs_of(settings)}
    runs = one[HPO] + one[RERUN] + one[FINAL]
    readings = one[METHOD] + one[FLOOR] + one[ORACLE]
    seconds = sum(runs * run_seconds(m) + readings * reading_seconds(m) for m in methods.values())
    supervised = 1.5 * max(run_seconds(m) for m in methods.values())
    seconds += runs_of(settings)[CEILING] * supervised
    return seconds / at_once(settings)[2] / 3600
