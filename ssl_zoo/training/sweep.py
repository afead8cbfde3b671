"""The summary of a multirun: summary.csv and one figure. Imports no torch."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ssl_zoo.metric_names import OBJECTIVES, Metric, objective_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.writing import write_atomically, write_text


class SweepSummary(Callback):
    """Enters the jobs that failed before they had a result; the others enter themselves."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode.name == "MULTIRUN" and job_return.status == JobStatus.FAILED:
            folder = Path(config.hydra.sweep.dir)
            _keep_failure(RunFolder(folder / config.hydra.sweep.subdir), config, job_return)
            summarize(folder)


def _keep_failure(job: RunFolder, config: DictConfig, job_return: JobReturn) -> None:
    """A result.json for a job that failed before it could write its own.

    One that is there is the job's own, or that of another run, which the job was refused for.
    """
    if job.result.exists():
        return
    result = {
        "status": "failed",
        "name": config.name,
        "overrides": list(job_return.overrides or []),
        "seed": config.seed,
        "seconds": 0.0,
        "metrics": {},
        "error": str(job_return._return_value),
    }
    job.path.mkdir(parents=True, exist_ok=True)  # the job took it back, since nothing came of it
    job.write_result(result)


def summarize(folder: Path) -> None:
    """Write summary.csv and summary.png from the result.json of each job in a sweep's folder.

    Several jobs may end at once. Who has written looks again, so that the last one leaves all.
    """
    jobs = None
    while jobs != (jobs := _results(folder)):
        _write_summary(folder, jobs)


def _results(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The jobs that began, by their folders' names, and what they left."""
    paths = sorted(folder.iterdir(), key=lambda path: (len(path.name), path))
    results = [(path.name, RunFolder(path).read_result()) for path in paths]
    return [(name, result) for name, result in results if result]


def _write_summary(folder: Path, began: list[tuple[str, dict[str, Any]]]) -> None:
    settings = [_split(job["overrides"]) for _, job in began]
    varied = [
        key
        for key in dict.fromkeys(key for values in settings for key in values)
        if len({values.get(key) for values in settings}) > 1
    ]
    # not those that run, since a file would say so still when they are killed
    jobs = [(name, job) for name, job in began if job["status"] != "running"]
    if not jobs:
        return
    overrides = [_split(job["overrides"]) for _, job in jobs]
    logged = {name for _, job in jobs for name in job["metrics"]}
    objective = objective_of(logged) or OBJECTIVES[0]
    metrics = [objective.name, *sorted(logged - {objective.name})]
    text = StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["job", "status", *varied, *metrics, "seconds"])
    for (name, job), values in zip(jobs, overrides, strict=True):
        row = [values.get(key, "") for key in varied]
        scores = [job["metrics"].get(metric, "") for metric in metrics]
        table.writerow([name, job["status"], *row, *scores, job["seconds"]])
    write_text(folder / "summary.csv", text.getvalue())
    _draw(folder, jobs, overrides, varied, objective)


def _split(overrides: list[str]) -> dict[str, str]:
    return dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)


def _draw(
    folder: Path,
    jobs: list[tuple[str, dict[str, Any]]],
    overrides: list[dict[str, str]],
    varied: list[str],
    objective: Metric,
) -> None:
    """Each setting's score: a dot per seed, a bar at their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    scale = 100 if objective.is_share else 1
    settings: dict[str, list[float]] = {}
    for (_, job), values in zip(jobs, overrides, strict=True):
        label = ", ".join(f"{k}={values.get(k, '')}" for k in varied if k != "seed") or "all"
        scores = settings.setdefault(label, [])
        if objective.name in job["metrics"]:
            scores.append(scale * job["metrics"][objective.name])
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.45 * len(settings)))
    for row, scores in enumerate(settings.values()):
        if scores:
            axis.barh(row, sum(scores) / len(scores), height=0.6, color="tab:blue", alpha=0.35)
        axis.plot(scores, [row] * len(scores), "o", color="tab:blue", markersize=5)
    axis.set_yticks(range(len(settings)), [f"{k}  (n={len(v)})" for k, v in settings.items()])
    axis.invert_yaxis()
    unit = ", %" if objective.is_share else ""
    axis.set_xlabel(f"{objective.name}{unit} (dots: runs, bar: their mean)")
    axis.grid(axis="x", alpha=0.3)
    write_atomically(
        folder / "summary.png",
        lambda file: figure.savefig(file, format="png", dpi=120, bbox_inches="tight"),
    )
    plt.close(figure)
