"""Sweeps as users start them, seen through what W&B and the sweep's folder hold afterwards."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import wandb
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.command_line import command_line
from helpers.configs import TINY, Make
from helpers.paths import ROOT
from helpers.wandb_reader import OfflineRun, offline_runs, read_run, records
from ssl_zoo import train as program
from ssl_zoo.config import shown
from ssl_zoo.metric_names import AXES, GLOBAL_STEP
from ssl_zoo.run_folder import RunFolder

KNN = "val/knn_top1"


def of_sweeps(test: Callable[..., None]) -> Callable[..., None]:
    """Of whole sweeps in processes of their own, started once, so on one worker."""
    return pytest.mark.slow(pytest.mark.xdist_group("sweeps")(test))


@dataclass
class Sweep:
    """A sweep that has ended: its folder, exit code and output."""

    folder: Path
    returncode: int
    stdout: str
    stderr: str

    def runs(self, job: int) -> list[OfflineRun]:
        return offline_runs(self.folder / str(job))

    def result(self, job: int) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / str(job) / "result.json").read_text())
        return content

    def summary(self) -> list[dict[str, str]]:
        return list(csv.DictReader((self.folder / "summary.csv").open()))


def start(folder: Path, logger: str, *overrides: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    data = folder.parent / "wandb_data"
    environment |= {"WANDB_MODE": "offline", "WANDB_DATA_DIR": str(data), "OMP_NUM_THREADS": "1"}
    environment |= {"SSL_ZOO_SWEEP": str(folder)}  # which its processes inherit
    sweep = ["-m", f"logger={logger}", *TINY, f"hydra.sweep.dir={folder}", *overrides]
    return subprocess.Popen(
        [sys.executable, "train.py", *sweep],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> list[Sweep]:
    """A grid that succeeds and one in which jobs fail, run beside each other."""
    folders = [tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("failing")]
    processes = [
        start(folders[0], "wandb", "method.temperature=0.1,0.2", "seed=0,1"),
        start(
            folders[1],
            "[wandb,tensorboard]",
            "batch_size=100000,64",
            "method/projector=mlp,none",
            "method.hidden_dim=32",  # which projector=none does not read
        ),
    ]
    outputs = [process.communicate() for process in processes]
    return [
        Sweep(folder, process.returncode, *output)
        for folder, process, output in zip(folders, processes, outputs, strict=True)
    ]


@pytest.fixture(scope="module")
def grid(sweeps: list[Sweep]) -> Sweep:
    assert sweeps[0].returncode == 0, sweeps[0].stderr
    return sweeps[0]


@pytest.fixture(scope="module")
def failing(sweeps: list[Sweep]) -> Sweep:
    return sweeps[1]


def test_the_reader_reads_what_wandb_writes(tmp_path: Path) -> None:
    logged = [{"x": i, "text": "y" * (7 * i % 301)} for i in range(300)]
    with wandb.init(mode="offline", dir=tmp_path, config={"a": {"b": 1}}) as run:
        for row in logged:
            run.log(row)
        run.log({"long": "z" * 100_000})  # a record of several blocks
    wandb.teardown()  # waits until all is on disk
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    read = read_run(path)
    assert [{"x": row["x"], "text": row["text"]} for row in read.history[:-1]] == logged
    assert read.history[-1]["long"] == "z" * 100_000
    assert (read.config["a"], read.exit_code) == ({"b": 1}, 0)

    damaged = bytearray(path.read_bytes())
    damaged[50_000] ^= 1
    (tmp_path / "damaged.wandb").write_bytes(damaged)
    with pytest.raises(ValueError, match="checksum"):
        list(records(tmp_path / "damaged.wandb"))


@of_sweeps
def test_each_job_is_a_finished_run_of_one_group(grid: Sweep) -> None:
    runs = [run for job in range(4) for run in grid.runs(job)]
    assert [run.exit_code for run in runs] == [0, 0, 0, 0]
    assert len({run.id for run in runs}) == 4
    assert {run.group for run in runs} == {grid.folder.name}
    settings = [(run.config["method.temperature"], run.config["seed"]) for run in runs]
    assert settings == [(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]


@of_sweeps
def test_config_is_resolved_and_flattened_by_dots_and_says_each_value_once(grid: Sweep) -> None:
    (run,) = grid.runs(3)
    folder = RunFolder(grid.folder / "3")
    saved = yaml.safe_load(folder.config.read_text())
    options = {"method": "simclr", "backbone": "convnet", "dataset": "shapes"}
    options |= {"augmentation": "shapes", "optimizer": "adamw", "scheduler": "warmup_cosine"}
    expected = shown(saved, folder.read_wandb()["copies"], options)
    assert run.config == expected | {"_wandb": run.config["_wandb"]}
    assert run.config["method.temperature"] == 0.2
    assert not {"method.loss.temperature", "trainer.max_epochs", "data.seed"} & set(run.config)
    assert "${" not in json.dumps(run.config)


@of_sweeps
def test_metrics_and_their_names(grid: Sweep) -> None:
    (run,) = grid.runs(1)
    names = {
        "train/loss",
        "lr/all",
        "lr/all_no_decay",
        "val/knn_top1",
        "val/probe_top1",
        "collapse/std",
        "collapse/effective_rank",
        "collapse/sigreg",
    }
    assert names <= run.names
    curves = RunFolder(grid.folder / "1").read_metrics()
    of_time = {name for name in curves if name.startswith("speed/")}
    assert {"grad_norm", "speed/data_seconds", "speed/compute_seconds"} <= set(curves)
    logged = {
        name: [(row[GLOBAL_STEP], row[name]) for row in run.history if name in row]
        for name in set(curves) - of_time
    }
    assert logged == {name: curves[name] for name in logged}, "a value is under a wrong step"
    assert of_time <= run.names


@of_sweeps
def test_rows_have_all_axes_and_summaries_last_and_best(grid: Sweep) -> None:
    for job in range(4):
        (run,) = grid.runs(job)
        assert all(set(AXES) <= set(row) for row in run.history)
        assert set(AXES) <= {metric.name for metric in run.metrics}
        assert [row["_step"] for row in run.history] == [row[GLOBAL_STEP] for row in run.history]
        knn = [value for _, value in RunFolder(grid.folder / str(job)).read_metrics()[KNN]]
        assert (run.summary[KNN], run.summary[f"{KNN}_best"]) == (knn[-1], max(knn))
        result = grid.result(job)
        assert run.summary["parameters"] == result["facts"]["parameters"]
        assert run.summary["images"] == result["facts"]["images"] == 270
        assert 0 < run.summary["seconds"] <= result["seconds"]


@of_sweeps
def test_figures_are_images(grid: Sweep) -> None:
    (run,) = grid.runs(0)
    (files,) = (grid.folder / "0").glob("wandb/offline-run-*/files")
    for name in ("views", "curves", "map"):
        (sent,) = run.summary[f"figures/{name}.filenames"]
        ours = matplotlib.image.imread(grid.folder / "0" / "figures" / f"{name}.png")
        np.testing.assert_array_equal(matplotlib.image.imread(files / sent), ours)


@of_sweeps
def test_embeddings_are_a_table_of_the_projector(grid: Sweep) -> None:
    (run,) = grid.runs(0)
    (files,) = (grid.folder / "0").glob("wandb/offline-run-*/files")
    table = json.loads((files / run.summary["embedding.path"]).read_text())
    assert table["columns"] == ["class", *(f"d{i}" for i in range(16))]
    assert len(table["data"]) == grid.result(0)["facts"]["val"] == 30
    assert all(isinstance(row[0], str) and isinstance(row[1], float) for row in table["data"])


@of_sweeps
def test_no_process_is_left(grid: Sweep, failing: Sweep) -> None:
    """Of W&B's service above all, which outlives a run."""
    left = []
    for sweep in (grid, failing):
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"SSL_ZOO_SWEEP={sweep.folder}\0".encode() in path.read_bytes() + b"\0":
                    left.append((path.parent / "cmdline").read_text())
    assert left == []


@of_sweeps
def test_summary_of_a_sweep(grid: Sweep) -> None:
    rows = grid.summary()
    assert list(rows[0])[:5] == ["job", "status", "method.temperature", "seed", "val/knn_top1"]
    assert [row["status"] for row in rows] == ["finished"] * 4
    for job, row in enumerate(rows):
        (run,) = grid.runs(job)
        assert row["job"] == str(job)
        assert float(row["seed"]) == run.config["seed"]
        assert float(row["val/knn_top1"]) == run.summary[KNN]
    assert matplotlib.image.imread(grid.folder / "summary.png").size > 10_000


@of_sweeps
def test_seeds_of_a_sweep_make_runs_of_their_own(grid: Sweep) -> None:
    losses = [grid.result(job)["metrics"]["train/loss"] for job in range(4)]
    assert len(set(losses)) == 4


@of_sweeps
def test_a_failing_job_stops_no_other(failing: Sweep) -> None:
    status = [failing.result(job)["status"] for job in range(4)]
    assert status == ["failed", "failed", "finished", "failed"]
    assert [row["status"] for row in failing.summary()] == status
    assert failing.returncode == 2
    assert failing.result(2)["metrics"]["val/knn_top1"] > 0


@of_sweeps
def test_a_failing_job_says_why(failing: Sweep) -> None:
    assert "Traceback" not in failing.stdout + failing.stderr
    lines = failing.stderr.splitlines()
    for job, words in (
        (0, "batch_size=100000"),
        (1, "method.hidden_dim was set"),
        (3, "no chosen"),
    ):
        assert words in failing.result(job)["error"]
        assert any(line.startswith(f"error: job {job}: ") and words in line for line in lines)


@of_sweeps
def test_a_failing_job_is_marked_in_wandb(failing: Sweep) -> None:
    (trained,) = failing.runs(0)
    assert (trained.exit_code, trained.group) == (1, failing.folder.name)
    (finished,) = failing.runs(2)
    assert finished.exit_code == 0
    assert list((failing.folder / "2" / "tensorboard").glob("events.*")), "both loggers wrote"
    assert failing.runs(1) == [], "an unread knob is told before W&B starts"


def test_failure_in_the_data_is_marked_in_wandb(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(ValueError, match="val_fraction=2"):
        program.train(make_config("logger=wandb", "dataset.val_fraction=2"))
    wandb.teardown()  # waits until all is on disk
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    assert read_run(path).exit_code == 1


@pytest.mark.slow
def test_tensorboard_and_the_objective(tmp_path: Path) -> None:
    overrides = ["logger=tensorboard", "batch_size=8", "dataset.splits.num_train=2000"]
    with command_line("train", *TINY, f"run_dir={tmp_path}", *overrides) as cfg:
        objective = program.main.__wrapped__(cfg)
    metrics = json.loads((tmp_path / "result.json").read_text())["metrics"]
    assert objective == metrics["val/knn_top1"]

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curves = RunFolder(tmp_path).read_metrics()
    assert {"train/loss", "lr/all", "val/knn_top1", "speed/images_per_second"} <= set(curves)
    assert {point.step for point in events.Scalars("lr/all")} == set(dict(curves["train/loss"]))
    for name, points in curves.items():
        logged = {point.step: point.value for point in events.Scalars(name)}
        assert logged == pytest.approx(dict(points), rel=1e-6), name
    figures = ["figures/views", "figures/curves", "figures/map"]
    assert set(figures) <= set(events.Tags()["images"])
    for name in figures:
        (image,) = events.Images(name)
        assert image.encoded_image_string.startswith(b"\x89PNG")
        height, width = matplotlib.image.imread(tmp_path / f"{name}.png").shape[:2]
        assert (image.height, image.width) == (height, width)
