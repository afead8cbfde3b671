"""How well figures without labels order runs: Spearman's rank correlation with kNN on val.

    python benchmarks/label_free.py runs/SWEEP --csv figures.csv --figure figures.png
    python benchmarks/label_free.py runs --images 500 --views 5

Every checkpoint below the folder is a point, a run's last.ckpt and best.ckpt of one step only once;
more are kept by `callbacks=[default,model_checkpoint]` with `callbacks.model_checkpoint.save_top_k
=-1`. Of each it computes, on the run's own data: kNN on val as the monitor does, collapse/sigreg
and the effective rank of val's embeddings, and LiDAR of the embeddings (z) and of the
representations (h), whose views are the large ones that the run was trained on. Test is not read.

Runs are compared on one split only: each data set has its own lines. Checkpoints of one run are
alike, so that n points say less than n runs: both are counted, and the last checkpoints alone have
lines of their own. Lower is better for sigreg: a correlation of -1 orders as kNN does.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.ticker import LogLocator, NullFormatter
from omegaconf import OmegaConf
from scipy.stats import spearmanr

from ssl_zoo.checkpoints import Loaded, load_pretrained, read_resumable
from ssl_zoo.config import instantiate, register_resolvers
from ssl_zoo.console import info, print_table
from ssl_zoo.data import DataModule
from ssl_zoo.data.fingerprint import split_changes
from ssl_zoo.evaluation import effective_rank, knn_top1, lidar, sample_rows, sigreg
from ssl_zoo.evaluation.features import eval_mode
from ssl_zoo.figures.canvas import COLORS, readable, save, subplots
from ssl_zoo.hardware import default_device
from ssl_zoo.protocols import Candidate
from ssl_zoo.protocols.lidar import view_features
from ssl_zoo.types import UserError

FIGURES = ("sigreg", "effective_rank", "lidar_z", "lidar_h")
MOST = 10_000  # images of val, as the monitor takes


class Point(NamedTuple):
    """A checkpoint's figures.

    Attributes:
        run: Folder of the run.
        checkpoint: Name of the file.
        step: Optimizer steps that were done.
        method: Of the run.
        data: What identifies the images; runs with others are not compared.
        knn: Top-1 on val.
        sigreg: Of val's embeddings; lower is nearer to a Gaussian.
        effective_rank: RankMe of the same.
        lidar_z: LiDAR of embeddings.
        lidar_h: LiDAR of representations.
    """

    run: str
    checkpoint: str
    step: int
    method: str
    data: str
    knn: float
    sigreg: float
    effective_rank: float
    lidar_z: float
    lidar_h: float


class Line(NamedTuple):
    """A correlation: of which figure, over which points."""

    figure: str
    rho: float
    n: int
    runs: int


# ---- the points ----


def checkpoints(folder: Path) -> dict[Path, int]:
    """The checkpoints below a folder, with their steps; one for each step of a run."""
    found: dict[tuple[Path, int], Path] = {}
    for path in sorted(folder.rglob("checkpoints/*.ckpt")):
        try:
            key = (path.parent, int(read_resumable(path)["global_step"]))
        except UserError as error:
            info(f"left out: {error}")
            continue
        if key not in found or path.name == "last.ckpt":
            found[key] = path
    return {path: step for (_, step), path in found.items()}


def points(folder: Path, images: int, views: int) -> Iterator[Point]:
    """Figures of each checkpoint that can be scored; says why another cannot."""
    data_of: dict[str, DataModule] = {}
    for path, step in checkpoints(folder).items():
        run = path.parent.parent.relative_to(folder).as_posix()
        try:
            loaded = load_pretrained(path, "embedding")
            yield Point(run, path.name, step, *_figures(loaded, data_of, images, views))
        except UserError as error:
            info(f"left out: {error}")


def _figures(
    loaded: Loaded, data_of: dict[str, DataModule], images: int, views: int
) -> tuple[str, str, float, float, float, float, float]:
    assert loaded.run is not None
    config, device = loaded.run["config"], default_device()
    wiring = dict(config["data"])
    if "skipped_list" in wiring["splits"]:  # the training run wrote it
        wiring["splits"] = wiring["splits"] | {"skipped_list": None}
    key = json.dumps({k: v for k, v in wiring.items() if k not in ("augmentation", "batch_size")})
    if key not in data_of:
        data_of.clear()  # one at a time in memory
        data_of[key] = instantiate(OmegaConf.create({"data": wiring}).data)
    data = data_of[key]
    trained_on = loaded.run.get("split")  # earlier versions did not save it
    if trained_on and (changes := split_changes(trained_on, data.fingerprint)):
        raise UserError(f"{config['name']}: the images are not the run's: {'; '.join(changes)}")
    if data.num_train_classes == 0 or not (data.val.labels >= 0).any() or data.val_is_apart:
        raise UserError(f"{config['name']}: kNN needs a labelled val with the classes of train")
    encoder: Any = loaded.backbone.to(device)
    backbone, project = encoder.backbone, _projector(encoder)
    candidate = Candidate(
        config["name"], backbone, loaded.preprocess, lambda: data, config["seed"], device
    )
    bank, val = candidate.encode(
        [candidate.data.bank_dataloader(), candidate.data.val_dataloader()], config["name"]
    )
    k = config["monitor"]["k"]
    known = val.among(data.train_labels)
    top1 = knn_top1(*known, *bank, data.num_train_classes, [k], config["monitor"]["temperature"])
    z = project(sample_rows(val.representation, MOST))
    chain = instantiate(OmegaConf.create(config["augmentation"]))
    h_views = view_features(candidate, chain, images, views)
    z_views = project(h_views.flatten(0, 1)).unflatten(0, h_views.shape[:2])
    method = config["method"]["module"]["_target_"].rsplit(".", 1)[-1]
    rank = float(effective_rank(z))
    both = (float(lidar(z_views)), float(lidar(h_views)))
    return method, _identity(data), top1[k], float(sigreg(z)), rank, *both


def _projector(encoder: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    @torch.inference_mode()
    def project(h: torch.Tensor) -> torch.Tensor:
        with eval_mode(encoder):
            return torch.cat([encoder.projector(part).float() for part in h.split(512)])

    return project


def _identity(data: DataModule) -> str:
    """A text that is the same for the same images, split and classes."""
    return json.dumps(data.fingerprint, sort_keys=True, default=str)


def _data_set(point: Point, found: Sequence[Point]) -> str:
    """Its number, as the correlations have it."""
    return str(list(dict.fromkeys(one.data for one in found)).index(point.data) + 1)


# ---- the correlations ----


def correlations(found: Sequence[Point]) -> list[Line]:
    """Spearman's rho of each figure with kNN; of points whose two numbers are finite."""
    lines = []
    for figure in FIGURES:
        pairs = [(p.run, getattr(p, figure), p.knn) for p in found]
        finite = [one for one in pairs if all(map(_is_finite, one[1:]))]
        columns = [[one[1] for one in finite], [one[2] for one in finite]]
        varied = len(finite) > 1 and all(len(set(column)) > 1 for column in columns)
        rho = float(spearmanr(*columns).statistic) if varied else float("nan")
        lines.append(Line(figure, rho, len(finite), len({one[0] for one in finite})))
    return lines


def _is_finite(value: float) -> bool:
    return bool(torch.isfinite(torch.tensor(value)))


def groups(found: Sequence[Point]) -> dict[str, list[Point]]:
    """All points of a data set, its last checkpoints alone, and each method's with several."""
    made: dict[str, list[Point]] = {}
    splits = list(dict.fromkeys(p.data for p in found))
    for i, split in enumerate(splits):
        same = [p for p in found if p.data == split]
        name = "" if len(splits) == 1 else f"data set {i + 1}, "
        made[f"{name}all checkpoints"] = same
        made[f"{name}last checkpoints"] = [p for p in same if p.checkpoint == "last.ckpt"]
        for method in dict.fromkeys(p.method for p in same):
            made[f"{name}{method}"] = [p for p in same if p.method == method]
    return {name: several for name, several in made.items() if len(several) > 2}


def write(found: Sequence[Point], path: Path) -> None:
    """A row for each point."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*Point._fields])
        for point in found:
            table.writerow(point._replace(data=_data_set(point, found)))


def draw(found: Sequence[Point], path: Path) -> None:
    """The kNN over each figure: a colour for each method, a line through a run's checkpoints."""
    picture, axes = subplots(1, len(FIGURES), (3.2 * len(FIGURES), 3.4))
    methods = list(dict.fromkeys(point.method for point in found))
    for axis, figure in zip(axes[0], FIGURES, strict=True):
        for run in dict.fromkeys(point.run for point in found):
            own = sorted((p for p in found if p.run == run), key=lambda p: p.step)
            number = methods.index(own[0].method)
            x, y = [getattr(p, figure) for p in own], [100 * p.knn for p in own]
            color, mark = COLORS[number % len(COLORS)], "o^"[number // len(COLORS) % 2]
            label = readable(own[0].method)
            axis.plot(x, y, "-", color=color, marker=mark, ms=4, lw=0.8, alpha=0.8, label=label)
        axis.set_xlabel(figure)
        if figure == "sigreg":
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylabel("kNN on val, %")
    handles, names = axes[0, 0].get_legend_handles_labels()
    own_lines = dict(zip(names, handles, strict=True))
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    picture.legend(own_lines.values(), own_lines.keys(), ncols=len(COLORS), **place)
    save(picture, path)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of runs, at any depth")
    parser.add_argument("--images", type=int, default=1000, help="of LiDAR")
    parser.add_argument("--views", type=int, default=10, help="of each image")
    parser.add_argument("--csv", type=Path, help="where the figures of each checkpoint go")
    parser.add_argument("--figure", type=Path, help="where a picture of them goes")
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ssl_zoo").setLevel(logging.INFO)
    for option in ("images", "views"):
        if getattr(given, option) < 2:
            parser.error(f"--{option}={getattr(given, option)}: give at least 2")
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    for path in (given.csv, given.figure):
        if path and not path.absolute().parent.is_dir():
            parser.error(f"{path}: its folder does not exist")
    register_resolvers()
    found = list(points(given.folder, given.images, given.views))
    if not found:
        raise SystemExit(f"{given.folder} holds no checkpoint of a run that kNN can score")
    if given.csv:
        write(found, given.csv)
    if given.figure:
        draw(found, given.figure)
    rows = [
        [f"{p.run} {p.checkpoint}", _data_set(p, found), str(p.step), f"{100 * p.knn:.1f}"]
        + [f"{getattr(p, figure):.1f}" for figure in FIGURES]
        for p in found
    ]
    print_table("checkpoints", ["", "data set", "step", "kNN, %", *FIGURES], rows)
    lines = [
        [name, line.figure, f"{line.rho:.2f}", str(line.n), str(line.runs)]
        for name, several in groups(found).items()
        for line in correlations(several)
    ]
    if lines:
        print_table("Spearman's rho with kNN", ["", "figure", "rho", "n", "runs"], lines)
    else:
        print("no correlation: it takes three checkpoints, or more, on one data set")


if __name__ == "__main__":
    main(sys.argv[1:])
