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
from ssl_zoo.multirun import (
    Setting,
    by_setting,
    mean_and_s,
    results_in,
    settings_of,
    varied,
)
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.writing import write_atomically, write_text


class SweepSummary(Callback):
    """Enters the jobs that failed before they had a result; the others enter themselves."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        kept = getattr(job_return._return_value, "kept", False)  # by the run that failed
        failed = job_return.status == JobStatus.FAILED and not kept
        if config.hydra.mode.name == "MULTIRUN" and failed:
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
    while jobs != (jobs := results_in(folder)):
        _write_summary(folder, jobs)


def _write_summary(folder: Path, began: list[tuple[str, dict[str, Any]]]) -> None:
    keys = varied([settings_of(job["overrides"]) for _, job in began])
    # not those that run, since a file would say so still when they are killed
    jobs = [(name, job) for name, job in began if job["status"] != "running"]
    if not jobs:
        return
    settings = [settings_of(job["overrides"]) for _, job in jobs]
    logged = {name for _, job in jobs for name in job["metrics"]}
    objective = objective_of(logged) or OBJECTIVES[0]
    metrics = [objective.name, *sorted(logged - {objective.name})]
    text = StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["job", "status", *keys, *metrics, "seconds"])
    for (name, job), values in zip(jobs, settings, strict=True):
        row = [values.get(key, "") for key in keys]
        scores = [job["metrics"].get(metric, "") for metric in metrics]
        table.writerow([name, job["status"], *row, *scores, job["seconds"]])
    write_text(folder / "summary.csv", text.getvalue())
    _draw(folder, [job["metrics"] for _, job in jobs], by_setting(settings, keys), objective)


def _draw(
    folder: Path, metrics: list[dict[str, float]], settings: list[Setting], objective: Metric
) -> None:
    """Each setting's score: a dot per seed, a bar at their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    scale = 100 if objective.is_share else 1
    labels = []
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.45 * len(settings)))
    for row, (values, runs) in enumerate(settings):
        logged = [metrics[i] for i in runs if objective.name in metrics[i]]
        scores = [scale * one[objective.name] for one in logged]
        if scores:
            axis.barh(row, mean_and_s(scores)[0], height=0.6, color="tab:blue", alpha=0.35)
        axis.plot(scores, [row] * len(scores), "o", color="tab:blue", markersize=5)
        label = ", ".join(f"{knob}={value}" for knob, value in values.items()) or "all"
        labels.append(f"{label}  (n={len(scores)})")
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    unit = ", %" if objective.is_share else ""
    axis.set_xlabel(f"{objective.name}{unit} (dots: runs, bar: their mean)")
    axis.grid(axis="x", alpha=0.3)
    write_atomically(
        folder / "summary.png",
        lambda file: figure.savefig(file, format="png", dpi=120, bbox_inches="tight"),
    )
    plt.close(figure)
