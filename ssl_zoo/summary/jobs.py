"""Runs as a table sees them: what they were given, how they ended, what they scored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

from ssl_zoo.metric_names import OBJECTIVES, Metric, metric_named, objective_of
from ssl_zoo.multirun import results_in, settings_of_runs, sweeps_in
from ssl_zoo.run_folder import RunFolder

_ERROR_LENGTH = 200


class Job(NamedTuple):
    """A run, of a sweep or alone.

    Attributes:
        name: Of its row.
        folder: Its folder.
        settings: Its knobs as typed; those too that only other runs were given.
        status: How it ended, or that it runs.
        metrics: The last ones of training that are finite, by name.
        error: Why it ended so, in a line; "" if nothing said it.
        seconds: That it took.
        objective: The metric that it was told to be chosen by.
    """

    name: str
    folder: RunFolder
    settings: dict[str, str]
    status: str
    metrics: dict[str, float]
    error: str
    seconds: float
    objective: str | None


def read_jobs(folders: Iterable[Path]) -> list[Job]:
    """The runs in folders: of a run its own, else those that a folder holds, and its sweeps.

    Args:
        folders: Runs, sweeps, or any folder of runs and sweeps; where several are given, the rows
            of a folder's runs have its name too; those of a sweep in a folder have the sweep's.
    """
    places = list(dict.fromkeys(folders))
    names = [place.resolve().name for place in places]
    found: list[tuple[str, RunFolder, dict[str, Any]]] = []
    for place, short in zip(places, names, strict=True):
        name = short if names.count(short) == 1 else str(place)
        if result := RunFolder(place).read_result():
            found.append((name, RunFolder(place), result))
            continue
        prefix = f"{name}/" if len(places) > 1 else ""
        sweeps = [sweep.name + "/" for sweep in sweeps_in(place) if sweep not in places]
        for below in ("", *sweeps):
            runs = results_in(place / below)
            found += [(prefix + below + n, RunFolder(place / below / n), one) for n, one in runs]
    settings = settings_of_runs([folder for _, folder, _ in found])
    return [
        _job(name, folder, result, values)
        for (name, folder, result), values in zip(found, settings, strict=True)
    ]


def _job(name: str, folder: RunFolder, result: dict[str, Any], settings: dict[str, str]) -> Job:
    metrics = (result.get("metrics") or {}).items()
    return Job(
        name=name,
        folder=folder,
        settings=settings,
        status=str(result.get("status")),
        metrics={name: float(value) for name, value in metrics if _is_finite(value)},
        error=shorten(str(result.get("error") or ""), _ERROR_LENGTH, placeholder=" ..."),
        seconds=float(result.get("seconds") or 0.0),
        objective=result.get("objective"),
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def objective_of_jobs(jobs: Sequence[Job]) -> Metric:
    """What the runs are chosen by: as they were told, else the first objective that any logged."""
    chosen = next((job.objective for job in jobs if job.objective), None)
    logged = {name for job in jobs for name in job.metrics}
    return metric_named(chosen) if chosen else objective_of(logged) or OBJECTIVES[0]
