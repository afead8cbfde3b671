"""What a multirun leaves beside its runs: summary.csv and one figure. Imports no torch."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_OBJECTIVE = "val/knn_top1"


class SweepSummary(Callback):
    """Rewrites the sweep's summary after each job, so that a killed sweep has one too."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if config.hydra.mode.name == "MULTIRUN":
            folder = Path(config.hydra.sweep.dir)
            if job_return.status == JobStatus.FAILED:
                _keep_failure(folder / config.hydra.sweep.subdir, config, job_return)
            summarize(folder)


def _keep_failure(folder: Path, config: DictConfig, job_return: JobReturn) -> None:
    """A result.json for a job that failed before it could write its own."""
    path = folder / "result.json"
    if path.exists() and json.loads(path.read_text())["status"] == "failed":
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
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def summarize(folder: Path) -> None:
    """Write summary.csv and summary.png from the result.json of each job in a sweep's folder."""
    paths = sorted(folder.glob("*/result.json"), key=lambda path: (len(path.parent.name), path))
    jobs = [(path.parent.name, json.loads(path.read_text())) for path in paths]
    if not jobs:
        return
    overrides = [_split(job["overrides"]) for _, job in jobs]
    varied = [
        key
        for key in dict.fromkeys(key for o in overrides for key in o)
        if len({o.get(key) for o in overrides}) > 1
    ]
    metrics = sorted({name for _, job in jobs for name in job["metrics"]} | {_OBJECTIVE})
    metrics.sort(key=lambda name: name != _OBJECTIVE)  # stable: the objective comes first
    with (folder / "summary.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["job", "status", *varied, *metrics, "seconds"])
        for (name, job), values in zip(jobs, overrides, strict=True):
            row = [values.get(key, "") for key in varied]
            scores = [job["metrics"].get(metric, "") for metric in metrics]
            table.writerow([name, job["status"], *row, *scores, job["seconds"]])
    _draw(folder, jobs, overrides, varied)


def _split(overrides: list[str]) -> dict[str, str]:
    return dict(o.lstrip("+").split("=", 1) for o in overrides if "=" in o)


def _draw(
    folder: Path,
    jobs: list[tuple[str, dict[str, Any]]],
    overrides: list[dict[str, str]],
    varied: list[str],
) -> None:
    """Each setting's score: a dot a seed, a bar at their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    settings: dict[str, list[float]] = {}
    for (_, job), values in zip(jobs, overrides, strict=True):
        label = ", ".join(f"{k}={values.get(k, '')}" for k in varied if k != "seed") or "all"
        scores = settings.setdefault(label, [])
        if _OBJECTIVE in job["metrics"]:
            scores.append(100 * job["metrics"][_OBJECTIVE])
    figure, axis = plt.subplots(figsize=(7, 1.2 + 0.45 * len(settings)))
    for row, scores in enumerate(settings.values()):
        if scores:
            axis.barh(row, sum(scores) / len(scores), height=0.6, color="tab:blue", alpha=0.35)
        axis.plot(scores, [row] * len(scores), "o", color="tab:blue", markersize=5)
    axis.set_yticks(range(len(settings)), [f"{k}  (n={len(v)})" for k, v in settings.items()])
    axis.invert_yaxis()
    axis.set_xlabel(f"{_OBJECTIVE}, % (dots: runs, bar: their mean)")
    axis.grid(axis="x", alpha=0.3)
    figure.savefig(folder / "summary.png", dpi=120, bbox_inches="tight")
    plt.close(figure)
