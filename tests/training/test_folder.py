"""Which folder a run gets, and who may write it."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from helpers.configs import TINY, Make
from helpers.locks import holder
from helpers.paths import ROOT
from ssl_zoo.config import CONFIG_DIR, register_resolvers
from ssl_zoo.distributed import is_main_process
from ssl_zoo.lock import writer_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.training.folder import folder_of, held
from ssl_zoo.types import UserError

RANKS = ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"]
RANKS += ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)


@cache
def composed() -> DictConfig:
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("train", TINY)


def default(**knobs: object) -> DictConfig:
    """A config as a notebook composes it: nobody named a folder."""
    cfg = deepcopy(composed())
    for name, value in knobs.items():
        cfg[name] = value
    return cfg


def stopped(folder: Path) -> RunFolder:
    """What is left of a run that can go on, as far as its lock is concerned."""
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    run.last.write_text("weights")
    run.write_result({"status": "running"})
    return run


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_runs_of_one_name_have_two_folders(tmp_path: Path) -> None:
    first = default()
    taken = Path(first.run_dir)
    taken.mkdir(parents=True)  # another run was quicker
    with folder_of(first) as folder:
        assert folder.path.parent == taken.parent
        assert folder.path.name == f"{taken.name}-2"
        assert str(folder) == first.run_dir
        assert writer_of(folder.path) is not None
        folder.write_result({"status": "running"})
    assert list(taken.iterdir()) == []
    assert list(folder.path.iterdir()) == [folder.result.absolute().relative_to(tmp_path)]


def test_a_config_that_is_used_again_does_not_enter_the_first_runs_folder() -> None:
    cfg = default()
    with folder_of(cfg) as folder:
        folder.start({"run_dir": str(folder)}, "one")
        folder.write_result({"status": "finished"})
    with folder_of(cfg) as again, pytest.raises(UserError, match="holds a run: choose another"):
        again.start({}, "two")


def test_of_a_run_that_is_refused_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bad"), folder_of(default()):
        raise UserError("bad")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("more", ["", "metrics.csv", "notes.txt"])
def test_a_run_that_failed_before_it_trained_is_taken_back(tmp_path: Path, more: str) -> None:
    def fail(folder: RunFolder) -> None:
        folder.start({"run_dir": str(folder)}, "one")
        folder.write_result({"status": "failed"})
        if more:
            (folder.path / more).write_text("x")
        raise UserError("bad")

    with pytest.raises(UserError, match="bad"), folder_of(default()) as folder:
        fail(folder)
    kept = {folder.config.name, folder.result.name, more} if more else set()
    assert {path.name for path in (tmp_path / "runs").glob("*/*")} == kept
    assert folder.path.exists() == bool(more)


@pytest.mark.parametrize("named", ["resume", "run_dir"])
def test_a_folder_that_is_being_written_is_refused(tmp_path: Path, named: str) -> None:
    run = stopped(tmp_path / "run")
    with holder(run.path) as process:
        before = contents(tmp_path)
        said = rf"run is being written by process {process.pid} of .*: wait until it ends, or stop"
        with pytest.raises(UserError, match=said):
            train(default(**{named: str(run)}))
        assert contents(tmp_path) == before
    mine = held(run) if named == "resume" else folder_of(default(run_dir=str(run)))
    with mine as folder:  # killed, so it may go on
        assert folder.path == run.path
        assert folder.read_result()["status"] == "running"
    assert folder.read_result()["status"] == "interrupted"


@pytest.mark.parametrize(
    ("resume", "said"),
    [
        ("nowhere", "does not exist: give a run folder$"),
        ("file", "is not a run's last.ckpt"),
        (".", "holds no checkpoints/last.ckpt: give a run folder$"),
    ],
)
def test_what_is_not_a_run_is_not_resumed(resume: str, said: str) -> None:
    Path("file").touch()
    with pytest.raises(UserError, match=rf"^resume={resume} {said}"):
        train(default(resume=resume))


@pytest.mark.parametrize("rank", RANKS)
def test_other_ranks_make_no_folder_and_meet_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    monkeypatch.setenv(rank, "1")
    assert not is_main_process()
    with folder_of(default()):
        assert list(tmp_path.iterdir()) == []
    run = stopped(tmp_path / "run")
    with holder(run.path), held(run) as folder:
        assert folder.path == run.path
    monkeypatch.setenv(rank, "0")
    assert is_main_process()


@pytest.mark.parametrize(
    ("environment", "writes"),
    [
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, False),  # a child within one task
        ({"SLURM_PROCID": "3", "RANK": "0"}, True),  # torchrun in a task
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "RANK": "8"}, False),  # the second node's first
        ({}, True),
    ],
)
def test_of_several_numbers_the_innermost_launchers_holds(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], writes: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() is writes


def test_a_sweeps_name_needs_a_sweep() -> None:
    said = r"^sweep=x names the folder of a multirun: add -m$"
    with pytest.raises(UserError, match=said), folder_of(default(sweep="x")):
        pass


def started(folder: Path, *args: str, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *TINY, "callbacks=none", *args],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def steps(folder: Path) -> list[int]:
    return [step for step, _ in RunFolder(folder).read_metrics()["train/loss"]]


@pytest.mark.slow
def test_runs_that_start_together_are_apart(tmp_path: Path) -> None:
    """As users start them; the third is a rank of some other run, of which nothing is left."""
    processes = [started(tmp_path, f"seed={seed}") for seed in (0, 1)]
    processes.append(started(tmp_path, "seed=2", SLURM_PROCID="1"))
    for process in processes:
        output = process.communicate()[0]
        assert process.returncode == 0, output
    folders = sorted((tmp_path / "runs").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert sorted(RunFolder(path).read_config()["seed"] for path in folders) == [0, 1]
    for path in folders:
        assert RunFolder(path).read_result()["status"] == "finished"
        assert steps(path) == [0, 1, 2, 3]
        text = (path / "metrics.csv").read_text()
        assert text.count(",train/loss,") == 4
        assert not RunFolder(path).lock.exists()


@pytest.mark.slow
def test_of_two_runs_in_one_named_folder_one_is_refused(tmp_path: Path) -> None:
    processes = [started(tmp_path, "hydra.run.dir=runs/x", f"seed={seed}") for seed in (0, 1)]
    outputs = [process.communicate()[0] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 2], outputs
    refused = outputs[[process.returncode for process in processes].index(2)]
    lines = [line for line in refused.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, refused
    assert "runs/x is being written by process" in lines[0] or "holds a run" in lines[0]
    assert steps(tmp_path / "runs" / "x") == [0, 1, 2, 3]


def test_names_of_folders_stay(make_config: Make, tmp_path: Path) -> None:
    cfg = make_config()
    with folder_of(cfg) as folder:
        assert folder.path == tmp_path / "run"
    assert cfg.run_dir == str(tmp_path / "run")
    assert not folder.path.exists()  # nothing came of it
