"""The report of a run: result.json, its figures, and a table at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from omegaconf import OmegaConf
from torchvision.transforms.v2.functional import resize

from ssl_zoo.config import chosen_names, instantiate, task_overrides, trust_for, typed
from ssl_zoo.console import print_table
from ssl_zoo.data import DataModule
from ssl_zoo.data.loaders import RawBatch
from ssl_zoo.distributed import is_main_process
from ssl_zoo.evaluation.features import Features
from ssl_zoo.figures import MOST_ROWS, draw_curves, draw_map, draw_views, save
from ssl_zoo.metric_names import KNN_AT_START, KNN_TOP1, METRICS
from ssl_zoo.multirun import is_sweep
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search import was_pruned
from ssl_zoo.training.facts import end_facts
from ssl_zoo.training.steps import Rhythm, rhythm_of
from ssl_zoo.training.sweep import summarize
from ssl_zoo.types import UserError


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
            "objective": config.get("objective"),
            "choices": earlier.get("choices", chosen_names()),
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
        if metrics is not None and was_pruned(self.folder.path):  # it ended without an error
            status = "pruned"
        end = {"status": status, "seconds": round(self.seconds(), 1), "metrics": metrics or {}}
        failure = {} if error is None else {"error": error}
        self.folder.write_result(self.head | end | failure)
        if status != "running" and is_sweep(self.folder.path.parent):
            summarize(self.folder.path.parent)


def seconds_of(folder: RunFolder) -> Callable[[], float]:
    """A clock of the run's wall-clock time, over all its parts."""
    earlier, start = float(folder.read_result().get("seconds", 0.0)), monotonic()
    return lambda: earlier + monotonic() - start


def end_status(folder: RunFolder) -> str:
    """What a run that reached its last step ended with."""
    return "collapsed" if folder.read_result().get("facts", {}).get("collapsed") else "finished"


def keep_end(
    folder: RunFolder, steps: int, rhythm: Rhythm, memory: tuple[float, float] | None = None
) -> None:
    """Keep in result.json how far a run came.

    Args:
        folder: The run's; not there where a run is only tried.
        steps: Optimizer steps done.
        rhythm: How they lie in the epochs.
        memory: As of `peak_memory`; None = not known.
    """
    if not is_main_process() or not folder.result.exists():
        return
    facts = folder.read_result().get("facts", {})
    facts |= end_facts(facts, steps, rhythm)
    if memory is not None:
        facts["peak_mib"] = round(memory[0] * 1e9 / 2**20, 1)
    folder.keep_facts(facts)


def save_first_views(data: DataModule, folder: RunFolder) -> dict[str, Path]:
    """The first batch's images and views as a picture; what the views are into result.json."""
    if not is_main_process():
        return {}
    raws = list(islice(data.train_dataloader(), 2))
    views = [_views_of(data, raw) for raw in raws]
    facts = folder.read_result().get("facts", {})
    folder.keep_facts(
        facts
        | {"view_sides": [view.shape[-1] for view in views[0]], "views_sha": _sha_of_views(views)}
    )
    images = _originals(data, raws[0].index[:MOST_ROWS])
    mean, std = data.preprocess.mean, data.preprocess.std
    path = folder.figures / "views.png"
    return {"views": save(draw_views(images, views[0], mean, std), path)}


def _views_of(data: DataModule, raw: RawBatch) -> list[torch.Tensor]:
    """The views of a batch's first images, those of a picture's rows, made on the CPU."""
    batches = raw.images if isinstance(raw.images, list) else [raw.images]
    few = [batch[:MOST_ROWS] for batch in batches]
    images = few if isinstance(raw.images, list) else few[0]
    first = RawBatch(images, raw.label[:MOST_ROWS], raw.index[:MOST_ROWS], raw.epoch)
    return list(data.transfer_batch_to_device(first, torch.device("cpu"), 0).views)


def _sha_of_views(batches: Sequence[Sequence[torch.Tensor]]) -> str:
    found = hashlib.sha256()
    for views in batches:
        for view in views:
            found.update(view.contiguous().float().numpy().tobytes())
    return found.hexdigest()


def _originals(data: DataModule, index: torch.Tensor) -> list[torch.Tensor]:
    """Training images as they are, (3, H, W) of any sizes; large ones smaller."""

    def smaller(images: torch.Tensor) -> torch.Tensor:
        side = 2 * data.view_size
        return images if min(images.shape[-2:]) <= side else resize(images, [side])

    alone = index.split(1)  # since their sizes differ
    return [batch[0] for batch in data.train.clean_batches(alone, smaller, num_workers=0)]


def save_last_figures(
    data: DataModule, folder: RunFolder, val: Features | None, rhythm: Rhythm, start: str
) -> dict[str, Path]:
    """The curves, and a map of the validation features if a monitor made them.

    Args:
        data: What was trained on.
        folder: The run's.
        val: Features of the validation split.
        rhythm: How the steps lie in the epochs.
        start: What the weights were before the run, in words.
    """
    if not is_main_process():
        return {}
    curves = {
        name: [(rhythm.in_epochs(step), value) for step, value in points]
        for name, points in folder.read_metrics().items()
    }
    levels = {"chance": 1 / data.num_train_classes} if data.num_train_classes else {}
    if KNN_AT_START.name in curves:
        levels[start] = curves[KNN_AT_START.name][0][1]
    figure = draw_curves(curves, {KNN_TOP1.panel: levels})
    figures = {"curves": save(figure, folder.figures / "curves.png")}
    if val is not None and len(val.label) > 3:
        figures["map"] = save(draw_map(*val, data.class_names), folder.figures / "map.png")
    return figures


def start_of(config: dict[str, Any]) -> str:
    """What the weights were before the run, in words."""
    return "weights of init" if config["init"] else "random init"


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
    folder: RunFolder,
    config: dict[str, Any],
    earlier: dict[str, Any],
    metrics: dict[str, float],
    steps: int,
) -> None:
    """What a run that was killed after its last step did not come to: result, curves, table.

    Args:
        folder: The run's.
        config: Its own.
        earlier: Its result.json.
        metrics: Of its last step.
        steps: Optimizer steps done.
    """
    result = Result(folder, config, earlier)
    result.write(end_status(folder), metrics)
    with suppress(UserError):  # the images may be gone; the curves are in metrics.csv too
        data = instantiate(OmegaConf.create(config).data)
        rhythm = rhythm_of(data.num_batches, data.batch_size, config["trainer"])
        keep_end(folder, steps, rhythm)
        save_last_figures(data, folder, None, rhythm, start_of(config))
    report(folder, metrics, result.seconds(), trust_for(used_by_evaluation(config)))
