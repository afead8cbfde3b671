"""The report of a run: result.json, its figures, and a table at its end."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import torch

from ssl_zoo.config import task_overrides, trust_for, typed
from ssl_zoo.console import print_table
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.evaluation.features import Features
from ssl_zoo.figures import draw_curves, draw_map, draw_views, save
from ssl_zoo.metric_names import METRICS
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.sweep import summarize
from ssl_zoo.training.sweep_folder import is_sweep


class Result:
    """result.json: a run's status, with its last metrics; a resumed run continues the old one.

    Args:
        folder: The run's folder.
        config: Resolved.
        earlier: The result.json of the part before a resume; empty for a new run.
    """

    def __init__(self, folder: RunFolder, config: dict[str, Any], earlier: dict[str, Any]) -> None:
        self.folder, self.start = folder, monotonic()
        self.earlier_seconds = float(earlier.get("seconds", 0.0))
        self.head = {
            "name": config["name"],
            "overrides": earlier.get("overrides", task_overrides()),
            "seed": config["seed"],
        }

    def seconds(self) -> float:
        """Wall-clock time of all parts so far."""
        return self.earlier_seconds + monotonic() - self.start

    def write(
        self, status: str, metrics: dict[str, float] | None = None, error: str | None = None
    ) -> None:
        """Write it, and at a job's end update the summary of its sweep."""
        if not is_main_process():
            return
        end = {"status": status, "seconds": round(self.seconds(), 1), "metrics": metrics or {}}
        failure = {} if error is None else {"error": error}
        self.folder.write_result(self.head | end | failure)
        if status != "running" and is_sweep(self.folder.path.parent):
            summarize(self.folder.path.parent)


def save_first_views(data: DataModule, folder: RunFolder) -> dict[str, Path]:
    """The first batch's images and views as a picture."""
    if not is_main_process():
        return {}
    raw = next(iter(data.train_dataloader()))
    batch = data.transfer_batch_to_device(raw, torch.device("cpu"), 0)
    images = raw.images if isinstance(raw.images, torch.Tensor) else torch.empty(0)
    mean, std = data.preprocess.mean, data.preprocess.std
    path = folder.figures / "views.png"
    return {"views": save(draw_views(images, batch.views, mean, std), path)}


def save_last_figures(data: DataModule, folder: RunFolder, val: Features | None) -> dict[str, Path]:
    """The curves, and a map of the validation features if a monitor made them."""
    if not is_main_process():
        return {}
    figures = {"curves": save(draw_curves(folder.read_metrics()), folder.figures / "curves.png")}
    if val is not None and len(val.label) > 3:
        figures["map"] = save(draw_map(*val, data.class_names), folder.figures / "map.png")
    return figures


def used_by_evaluation(config: dict[str, Any]) -> list[Any]:
    """The parts of a run's config that evaluate.py and `load_backbone` may build again."""
    data = {name: part for name, part in config["data"].items() if name != "augmentation"}
    return [config["backbone"], data, config["method"]["module"].get("projector")]


def report(folder: RunFolder, metrics: dict[str, float], seconds: float, trust: str) -> None:
    """A short table, the run's folder, and how to score it.

    Args:
        folder: The run's.
        metrics: The last ones.
        seconds: That it took.
        trust: What the commands need besides, see `trust_for`.
    """
    known = [metric for metric in METRICS if metric.name in metrics]
    known.sort(key=lambda metric: not metric.is_share)  # stable: scores come first
    rows = [[metric.name, metric.shown(metrics[metric.name])] for metric in known]
    print_table(f"{seconds / 60:.1f} minutes", ["metric", "last"], rows)
    if is_main_process():
        print(f"run folder: {folder}")
        for metric in known:
            if metric.protocol:
                choice = f"{typed('ckpt', str(folder))} protocol={metric.protocol}{trust}"
                print(f"evaluate:   python evaluate.py {choice}")


def report_late(
    folder: RunFolder, config: dict[str, Any], earlier: dict[str, Any], metrics: dict[str, float]
) -> None:
    """What a run that was killed after its last step did not come to: result, curves, table.

    Args:
        folder: The run's.
        config: Its own.
        earlier: Its result.json.
        metrics: Of its last step.
    """
    result = Result(folder, config, earlier)
    result.write("finished", metrics)
    if is_main_process():
        save(draw_curves(folder.read_metrics()), folder.figures / "curves.png")
    report(folder, metrics, result.seconds(), trust_for(used_by_evaluation(config)))
