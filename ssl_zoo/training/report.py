"""What a run says of itself: its pictures, and a table at its end."""

from __future__ import annotations

from pathlib import Path

import torch

from ssl_zoo.console import print_table
from ssl_zoo.data import DataModule
from ssl_zoo.distributed import is_main_process
from ssl_zoo.evaluation.features import Features
from ssl_zoo.figures import save_curves, save_map, save_views
from ssl_zoo.training.loggers import read_metrics


def save_first_views(data: DataModule, folder: Path) -> dict[str, Path]:
    """The first batch's images and views as a picture."""
    if not is_main_process():
        return {}
    raw = next(iter(data.train_dataloader()))
    batch = data.transfer_batch_to_device(raw, torch.device("cpu"), 0)
    images = raw.images if isinstance(raw.images, torch.Tensor) else torch.empty(0)
    mean, std = data.preprocess.mean, data.preprocess.std
    path = folder / "figures" / "views.png"
    return {"views": save_views(images, batch.views, mean, std, path)}


def save_last_figures(data: DataModule, folder: Path, val: Features | None) -> dict[str, Path]:
    """The curves, and a map of the validation features where a monitor made them."""
    if not is_main_process():
        return {}
    curves = read_metrics(folder / "metrics.csv")
    figures = {"curves": save_curves(curves, folder / "figures" / "curves.png")}
    if val is not None and len(val.label) > 3:
        figures["map"] = save_map(*val, data.class_names, folder / "figures" / "map.png")
    return figures


def report(folder: Path, metrics: dict[str, float], seconds: float) -> None:
    """A short table and where the run lies."""
    names = [
        "val/knn_top1",
        "val/probe_top1",
        "val/map_at_r",
        "val/precision_at_1",
        "train/loss",
        "collapse/std",
        "collapse/effective_rank",
    ]
    rows = [
        [name, f"{100 * metrics[name]:.1f}%" if name[:3] == "val" else f"{metrics[name]:.3f}"]
        for name in names
        if name in metrics
    ]
    print_table(f"{seconds / 60:.1f} minutes", ["metric", "last"], rows)
    if is_main_process():
        print(f"run folder: {folder}")
        if "val/knn_top1" in metrics:
            print(f"evaluate:   python evaluate.py ckpt={folder} protocol=linear")
        if "val/map_at_r" in metrics:
            print(f"evaluate:   python evaluate.py ckpt={folder} protocol=retrieval")
