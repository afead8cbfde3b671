"""Self-supervised methods against supervised metric learning, on unseen characters.

    python benchmarks/omniglot.py DIR/images_background_small1 [WORKERS]

Every method gets the same network, image size, number of optimizer steps and images per step, and
two settings of its main knob (one if the setting is the flaw that is shown), on each of four
class-disjoint folds. The setting is chosen by the mean MAP@R on the folds' validation classes; its
four models are scored on the test classes once. A self-supervised step encodes two views of each
image, a metric learning step one. Prints the table of docs/results.md, after 56 runs of about a
minute, one per core. Runs that exist already are not repeated.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean, stdev

OUT = Path("runs/omniglot")
FOLDS = range(4)
METRIC = ["experiment=metric_learning_omniglot"]
SSL = [
    *(
        "dataset=folder",
        "dataset.class_depth=2",
        "dataset.class_split=hash",
        "augmentation=omniglot",
    ),
    *("dataset.image_size=32", "batch_size=128", "epochs=60", "monitor.every_n_epochs=10"),
]
MOCO = [
    *("method=moco", "method/projector=mlp", "method.queue_size=512", "method.momentum=0.99"),
]
# What is fixed, the knob that is chosen on val, and its values.
METHODS: dict[str, tuple[list[str], str, list[float]]] = {
    "SimCLR": ([*SSL, "method=simclr"], "method.temperature", [0.1, 0.5]),
    "MoCo": ([*SSL, *MOCO], "method.temperature", [0.1, 0.2]),
    "contrastive": (METRIC, "method.metric_loss.neg_margin", [0.5, 1.0]),
    "triplet": (
        [*METRIC, "method/metric_loss=triplet"],
        "method.metric_loss.margin",
        [0.05, 0.2],
    ),
    "multi-similarity": (
        [*METRIC, "method/metric_loss=multi_similarity"],
        "method.metric_loss.base",
        [0.5, 0.7],
    ),
    "ArcFace": (
        [*METRIC, "method/metric_loss=arcface"],
        "method.metric_loss.margin",
        [15.0, 28.6],
    ),
    "contrastive of N/2 pairs": (
        [*METRIC, "ablation=metric_learning_flawed_contrastive"],
        "optimizer.base_lr",
        [1.5e-3],
    ),
    "triplet of N/3 triplets": (
        [*METRIC, "ablation=metric_learning_flawed_triplet"],
        "optimizer.base_lr",
        [1.5e-3],
    ),
}


def folder(method: str, setting: float, fold: int) -> Path:
    name = method.replace("/", "").replace(" ", "_").lower()
    return OUT / f"{name}_{setting:g}" / f"fold{fold}"


def train(root: str, method: str, setting: float, fold: int) -> None:
    """One model, on one core; its seed is its fold."""
    run = folder(method, setting, fold)
    if (run / "checkpoints" / "last.ckpt").exists():
        return
    held, knob, _ = METHODS[method]
    own = [f"{knob}={setting:g}", f"dataset.fold={fold}", f"seed={fold}"]
    call(["train.py", *held, f"dataset.root={root}", *own, f"hydra.run.dir={run}", "name=omniglot"])


def call(command: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    print("$ python", " ".join(command), flush=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def last(run: Path, metric: str) -> float:
    with (run / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == metric][-1]


def on_val(method: str, setting: float) -> list[float]:
    return [last(folder(method, setting, fold), "val/map_at_r") for fold in FOLDS]


def evaluate(method: str, setting: float, baselines: bool) -> dict[str, dict[str, float]]:
    """Rows of protocol=retrieval: four models, their mean, concatenated, and the floors."""
    runs = ",".join(str(folder(method, setting, fold)) for fold in FOLDS)
    out = folder(method, setting, 0).parent / "evaluation"
    call(
        [
            "evaluate.py",
            f"ckpt=[{runs}]",
            "protocol=retrieval",
            f"out={out}",
            f"baselines={baselines}",
        ]
    )
    rows: dict[str, dict[str, float]] = json.loads((out / "retrieval.json").read_text())["rows"]
    return rows


def table(rows: list[list[str]]) -> str:
    columns = ["method", "chosen", "val MAP@R", "MAP@R", "s", "P@1", "R-precision", "concatenated"]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def percent(values: list[float]) -> str:
    return f"{100 * fmean(values):.1f}"


def main() -> None:
    root = str(Path(sys.argv[1]).expanduser())
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    jobs = [(m, s, f) for m, (_, _, values) in METHODS.items() for s in values for f in FOLDS]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda job: train(root, *job), jobs))
    keys = ("test_map_at_r", "test_precision_at_1", "test_r_precision")
    lines: list[list[str]] = []
    for method, (_, knob, values) in METHODS.items():
        best = max(values, key=lambda setting: fmean(on_val(method, setting)))
        rows = evaluate(method, best, baselines=not lines)
        for floor in ("raw pixels", "random init") if not lines else ():
            score, *others = ([rows[floor][key]] for key in keys)
            lines.append([floor, "", "", percent(score), "", *map(percent, others), ""])
        score, *others = ([rows[f"fold{fold}"][key] for fold in FOLDS] for key in keys)
        lines.append(
            [
                *(method, f"`{knob}={best:g}`", percent(on_val(method, best))),
                *(percent(score), f"{100 * stdev(score):.1f}", *map(percent, others)),
                percent([rows["concatenated"]["test_map_at_r"]]),
            ]
        )
    print(table(lines))


if __name__ == "__main__":
    main()
