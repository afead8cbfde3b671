"""A multirun has one folder, of its own."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.configs import TINY
from helpers.paths import ROOT
from helpers.runs import reached
from helpers.sweeps import grid
from helpers.wandb_reader import read_run
from ssl_zoo.lock import locked
from ssl_zoo.run_folder import RunFolder


def sweep(folder: Path, *args: str, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *args],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open() as file:
        return list(csv.DictReader(file))


# Refused before torch is imported: the cheapest jobs that there are.
QUICK = ["method=simclr,byol", "dataset=shapes,digits", "epochs=0"]


@pytest.mark.slow
def test_a_sweep_is_one_folder_whatever_it_varies_and_no_other_experiment_s(tmp_path: Path) -> None:
    first = sweep(tmp_path, *QUICK, "sweep=grid")
    printed, errors = first.communicate()
    folder = tmp_path / "runs" / "grid"
    assert errors.count("error: job ") == 4, errors
    # also at the end of a sweep that failed, of which Hydra tells no callback
    assert printed.splitlines()[-1] == f"summary: {Path('runs/grid/summary.md')}"
    assert "failed: 0, 1, 2, 3: epochs=0: give a whole number of at least 1" in printed
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["grid"]
    varied = [(row["job"], row["status"], row["method"], row["dataset"]) for row in rows(folder)]
    assert varied == [
        ("0", "failed", "simclr", "shapes"),
        ("1", "failed", "simclr", "digits"),
        ("2", "failed", "byol", "shapes"),
        ("3", "failed", "byol", "digits"),
    ]

    last = RunFolder(folder / "0").last
    last.parent.mkdir()
    last.touch()  # else nothing there would be worth keeping
    (tmp_path / "runs" / "mine").mkdir()
    (tmp_path / "runs" / "mine" / "notes.txt").touch()
    before = contents(tmp_path)
    other = "runs/grid holds runs of another config: batch_size=32 (was its default): give"
    said = {
        "sweep=grid batch_size=32": f"error: {other}",
        "sweep=runs/grid batch_size=32": f"error: {other}",
        "sweep=mine": "error: sweep=mine: runs/mine exists, and is not the folder of a sweep",
        "sweep=runs/mine": "error: sweep=runs/mine: runs/mine exists, and is not the folder",
        "sweep=runs/none": "error: sweep=runs/none: give one name, the folder is runs/NAME; a path",
        "hydra.sweep.dir=runs/grid": "error: hydra.sweep.dir=runs/grid holds runs already",
    }
    for place in said:
        process = sweep(tmp_path, *QUICK, *place.split())
        errors = process.communicate()[1]
        assert process.returncode == 2
        assert errors.startswith(said[place])
        assert errors.count("\n") == 1, errors
    assert contents(tmp_path) == before

    last.unlink()
    with locked(folder):
        process = sweep(tmp_path, *QUICK, "sweep=grid")
        errors = process.communicate()[1]
    assert f"error: {folder} is being written by process " in errors
    assert errors.count("\n") == 1, errors
    process = sweep(tmp_path, *QUICK, "sweep=grid")  # jobs that failed are run again
    errors = process.communicate()[1]
    assert (process.returncode, errors.count("error: job ")) == (2, 4), errors
    assert "runs/grid: 4 of 4 jobs failed: 0, 1, 2, 3; the same command" in errors
    mended = sweep(tmp_path, *QUICK, "sweep=grid", "batch_size=32")  # so may a mistake be mended
    assert mended.communicate()[1].count("error: job ") == 4
    assert "batch_size=32" in RunFolder(folder / "0").read_result()["overrides"]
    assert [(row["job"], row["status"]) for row in rows(folder)] == [
        (str(number), "failed") for number in range(4)
    ]


@pytest.mark.slow
def test_a_grid_does_not_go_on_in_the_folder_of_a_search(tmp_path: Path) -> None:
    folder = grid(tmp_path / "runs" / "x", [0.5], seed="0")
    (folder / "multirun.yaml").write_text("hydra: {sweeper: {goes_on: true}}")
    process = sweep(tmp_path, "seed=0,1", "sweep=x")
    assert process.communicate()[1] == (
        "error: sweep=x: runs/x is the folder of a search: go on with hydra/sweeper=optuna, or "
        "choose another name\n"
    )


BAD = {
    "sweep=a,b": "sweep=a,b: give one name",
    "sweep=../x": "sweep=../x: give one name",
    "sweep=''": "sweep='': give one name",
    "sweep=[a,b]": "sweep=[a,b]: give one name",
    "run_dir=x": "run_dir=x is the folder of one run: for those of -m give sweep=NAME",
    "sweep=x hydra.sweep.dir=y": "both name the sweep's folder: remove one",
    "batch_size=64,128 method.temprature=1": "method.temprature",
}


@pytest.mark.slow
@pytest.mark.parametrize("args", BAD)
def test_a_sweep_that_cannot_be_leaves_nothing(tmp_path: Path, args: str) -> None:
    process = sweep(tmp_path, "seed=0,1", *args.split())
    errors = process.communicate()[1]
    assert process.returncode == 2
    assert BAD[args] in errors
    assert errors.count("\n") == 1, errors
    assert contents(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("search", [[], ["hydra/sweeper=optuna", "seed=interval(0,9)"]])
def test_what_is_no_folder_where_a_job_s_belongs_is_named(
    tmp_path: Path, search: list[str]
) -> None:
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    for number, make in (("1", Path.touch), ("2", lambda path: path.symlink_to("nowhere"))):
        make(folder / number)
        process = sweep(tmp_path, *(search or ["seed=0,1"]), "sweep=x")
        assert process.communicate()[1] == (
            f"error: runs/x/{number} is not a folder, and a job's belongs there: move it away\n"
        )
        assert process.returncode == 2
        assert [path.name for path in folder.iterdir()] == [number]
        (folder / number).unlink()
    folder.rmdir()
    folder.touch()
    for place in ("sweep=x", "hydra.sweep.dir=runs/x"):
        process = sweep(tmp_path, *(search or ["seed=0,1"]), place)
        errors = process.communicate()[1]
        assert errors.startswith(f"error: {place}"), errors
        assert errors.count("\n") == 1, errors


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["SLURM_PROCID", "RANK"])
def test_a_second_rank_does_not_start_the_sweep_again(tmp_path: Path, rank: str) -> None:
    process = sweep(tmp_path, *QUICK, **{rank: "1"})
    assert process.communicate()[1].startswith("error: -m starts every job itself")
    assert process.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_sweeps_that_start_together_are_apart(tmp_path: Path) -> None:
    args = [*TINY, "callbacks=none", "logger=wandb", "method=simclr,simsiam", "seed=0,1"]
    processes = [sweep(tmp_path, *args, WANDB_MODE="offline") for _ in range(2)]
    for process in processes:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert folder.name.startswith("sweep_")
        assert [(row["method"], row["seed"], row["status"]) for row in rows(folder)] == [
            ("simclr", "0", "finished"),
            ("simclr", "1", "finished"),
            ("simsiam", "0", "finished"),
            ("simsiam", "1", "finished"),
        ]
        runs = [read_run(path) for path in folder.glob("*/wandb/offline-run-*/*.wandb")]
        assert [run.group for run in runs] == [folder.name] * 4


@pytest.mark.soak
def test_a_sweep_that_is_killed_shows_an_interrupted_job(tmp_path: Path) -> None:
    args = [*TINY, "callbacks=none", "seed=0,1", "sweep=x", "epochs=200"]
    process = sweep(tmp_path, *args)
    folder = tmp_path / "runs" / "x"
    while not reached(folder / "0", 10):
        assert process.poll() is None
    assert RunFolder(folder / "0").read_result()["status"] == "running"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert RunFolder(folder / "0").read_result()["status"] == "interrupted"
