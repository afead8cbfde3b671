"""Runs beside each other: what they vary, and means over their seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from ssl_zoo.run_folder import RunFolder

MARK = "multirun.yaml"  # Hydra writes it into a sweep's folder
SEED = "seed"  # what a setting is repeated over
# Where a run is and how it is watched: no part of what it is.
_NO_SETTINGS = (
    *("run_dir", "name", "sweep", "logger", "save_every_n_minutes", "trust"),
    *("dataset.cache_dir", "dataset.num_workers"),
)


class Setting(NamedTuple):
    """Runs that differ in nothing but their seeds.

    Attributes:
        values: What distinguishes the setting, by knob.
        runs: Positions of its runs.
    """

    values: dict[str, str]
    runs: list[int]


def is_sweep(folder: Path) -> bool:
    """Whether a multirun has this folder."""
    return (folder / MARK).is_file()


def results_in(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The runs in a folder that began, by their folders' names, and what they left."""
    paths = sorted(folder.iterdir(), key=lambda path: (len(path.name), path))
    results = [(path.name, RunFolder(path).read_result()) for path in paths]
    return [(name, result) for name, result in results if result]


def settings_of(overrides: Iterable[str]) -> dict[str, str]:
    """The settings among a run's overrides, as typed, by knob."""
    typed = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    return {key: value for key, value in typed.items() if not _is_no_setting(key)}


def _is_no_setting(key: str) -> bool:
    return key in _NO_SETTINGS or key.startswith("logger.")


def varied(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The knobs in which runs differ, the seed too, in the order in which they are met."""
    keys = dict.fromkeys(key for values in settings for key in values)
    return [key for key in keys if len({_value(values.get(key)) for values in settings}) > 1]


def by_setting(settings: Sequence[Mapping[str, str]], keys: Iterable[str]) -> list[Setting]:
    """The runs grouped by what these knobs are set to, whatever their seed."""
    names = [key for key in keys if key != SEED]
    found: dict[tuple[Any, ...], Setting] = {}
    for i, values in enumerate(settings):
        setting = Setting({key: values.get(key, "") for key in names}, [])
        same = tuple(_value(values.get(key)) for key in names)
        found.setdefault(same, setting).runs.append(i)
    return list(found.values())


def _value(typed: str | None) -> Any:
    """What a typed value means: 0.10 and 1e-1 are one number."""
    try:
        return typed if typed is None else float(typed)
    except ValueError:
        return typed


def mean_and_s(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample standard deviation; None for a single value."""
    return fmean(values), stdev(values) if len(values) > 1 else None
