"""Runs beside each other: what they vary, and the spread over their seeds. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import yaml

from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import UserError, as_typed

MARK = "multirun.yaml"  # Hydra writes it into a sweep's folder
SEED = "seed"  # what a setting is repeated over
# Where a run is and how it is watched: no part of what it is.
_NO_SETTINGS = (
    *("run_dir", "name", "sweep", "logger", "save_every_n_minutes", "trust", "objective"),
    *("dataset.cache_dir", "dataset.num_workers"),
)
_ABSENT = object()
_PROBABILITY = 0.95  # of an interval
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is one


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


def overrides_of(folder: Path) -> list[str]:
    """What the last multirun in a folder was given; nothing where its file does not say."""
    given = _in_mark(folder, "overrides").get("task")
    return [str(one) for one in given] if isinstance(given, list) else []


def is_search(folder: Path) -> bool:
    """Whether the last multirun in a folder was a search, whose runs are numbered by its trials."""
    return "goes_on" in _in_mark(folder, "sweeper")


def _in_mark(folder: Path, name: str) -> dict[str, Any]:
    """A part of what Hydra wrote of the last multirun; empty where no multirun of ours wrote it."""
    mark = folder / MARK
    try:
        text = mark.read_text(encoding="utf-8") if mark.is_file() else ""
        found = yaml.load(text, _Loader)["hydra"][name]
    except (KeyError, TypeError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def sampled_in_log(folder: Path) -> list[str]:
    """The knobs that a sweep drew on a log scale, as in KEY=tag(log,interval(1e-4,1e-1))."""
    given = overrides_of(folder)
    matches = (re.match(r"\+*([^=]+)=\s*tag\(\s*log\s*,", one) for one in given)
    return [match.group(1) for match in matches if match]


def results_in(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The runs in a folder that began, by their folders' names, and what they left."""
    paths = sorted(folder.iterdir(), key=lambda path: (len(path.name), path))
    results = [(path.name, RunFolder(path).read_result()) for path in paths]
    return [(name, result) for name, result in results if result]


def sweeps_in(folder: Path) -> list[Path]:
    """The sweeps in a folder."""
    return sorted(path for path in folder.iterdir() if is_sweep(path))


def settings_of(overrides: Iterable[str]) -> dict[str, str]:
    """The settings among a run's overrides, as typed but without quotes, by knob."""
    typed = dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)
    return {key: _unquoted(value) for key, value in typed.items() if not _is_no_setting(key)}


def _unquoted(value: str) -> str:
    """A text without the quotes and escapes that it needed on the command line."""
    if not re.search(r"""['"\\]""", value) or value[:1] in ("[", "{"):
        return value
    from hydra.core.override_parser.overrides_parser import OverridesParser  # slow: not for numbers
    from hydra.errors import OverrideParseException

    try:
        read = OverridesParser.create().parse_overrides([f"x={value}"])[0].value()
    except OverrideParseException:
        return value
    return read if isinstance(read, str) and read else value


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
    """What a typed value means: 0.10 and 1e-1 are one number, [1,2] and [1, 2] one list."""
    if typed is None:
        return None
    try:
        return float(typed)
    except ValueError:
        return re.sub(r"[\s'\"]", "", typed)


def settings_of_runs(runs: Sequence[RunFolder]) -> list[dict[str, str]]:
    """The settings of runs, as typed; of a knob that not all were given, as in their configs."""
    results = [run.read_result() for run in runs]
    typed = [settings_of(result.get("overrides") or []) for result in results]
    keys = dict.fromkeys(key for values in typed for key in (*values, SEED))
    configs: dict[int, dict[str, Any]] = {}
    for key in keys:
        if all(key in values for values in typed):
            continue
        for i, (values, result) in enumerate(zip(typed, results, strict=True)):
            if key in values:
                continue
            known = {SEED: result.get(SEED), **(result.get("choices") or {})}
            if known.get(key) is not None:
                values[key] = str(known[key])
                continue
            if i not in configs:
                configs[i] = config_of(runs[i])
            if value := _in_config(configs[i], key):
                values[key] = value
    return typed


def config_of(run: RunFolder) -> dict[str, Any]:
    """Empty where there is none, or none that can be read: a table has other columns to show."""
    try:
        return run.read_config() if run.config.is_file() else {}
    except UserError:
        return {}


def _in_config(config: Any, key: str) -> str:
    """A knob's value, or what a group was set to: its name, or the part that it builds; or ""."""
    for part in key.split("."):
        config = config.get(part, _ABSENT) if isinstance(config, dict) else _ABSENT
    if config is _ABSENT:
        return ""
    if not isinstance(config, dict):
        return str(as_typed(config))
    part = config.get("_target_") or (config.get("module") or {}).get("_target_") or ""
    return str(config.get("name") or part.rpartition(".")[2])


class Spread(NamedTuple):
    """Scores of runs that differ in nothing but their seeds.

    Attributes:
        mean: Of them.
        s: The sample standard deviation; None of a single one.
        n: Their number.
        interval: The 95% interval of the mean by Student's t, from and to; None of a single one.
    """

    mean: float
    s: float | None
    n: int
    interval: tuple[float, float] | None


def spread_of(values: Sequence[float]) -> Spread:
    """The spread of at least one score."""
    n, mean = len(values), fmean(values)
    if n == 1:
        return Spread(mean, None, 1, None)
    from scipy.special import stdtrit  # slow to import

    s = stdev(values)
    half = float(stdtrit(n - 1, (1 + _PROBABILITY) / 2)) * s / n**0.5
    return Spread(mean, s, n, (mean - half, mean + half))
