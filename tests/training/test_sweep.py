"""What a sweep leaves beside its runs."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from helpers.sweeps import grid
from ssl_zoo.lock import locked
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training import sweep
from ssl_zoo.training.sweep import SweepSummary, summarize


def job(folder: Path, number: int, metrics: dict[str, float], status: str = "finished") -> None:
    result = {"status": status, "name": "x", "seed": number, "seconds": 1.0, "metrics": metrics}
    (folder / str(number)).mkdir(parents=True, exist_ok=True)
    RunFolder(folder / str(number)).write_result(result | {"overrides": [f"seed={number}"]})


def header(folder: Path) -> list[str]:
    with (folder / "summary.csv").open() as file:
        return next(csv.reader(file))


@pytest.mark.parametrize("name", ["val/knn_top1", "val/map_at_r"])
def test_the_objective_that_was_logged_comes_first(tmp_path: Path, name: str) -> None:
    job(tmp_path, 0, {"train/loss": 1.0, name: 0.5})
    job(tmp_path, 1, {}, status="failed")
    summarize(tmp_path)
    assert header(tmp_path) == ["job", "status", "seed", name, "train/loss", "seconds", "error"]
    assert (tmp_path / "summary.png").stat().st_size > 1000


def test_where_all_jobs_failed_the_column_is_there(tmp_path: Path) -> None:
    job(tmp_path, 0, {}, status="failed")
    (tmp_path / "multirun.yaml").touch()
    summarize(tmp_path)
    assert header(tmp_path) == ["job", "status", "val/knn_top1", "seconds", "error"]


def test_jobs_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        job(tmp_path, number, {"val/knn_top1": 0.1})
    summarize(tmp_path)
    with (tmp_path / "summary.csv").open() as file:
        assert [row["job"] for row in csv.DictReader(file)] == ["1", "2", "10"]


def test_nothing_is_written_where_there_is_no_job(tmp_path: Path) -> None:
    summarize(tmp_path)
    assert list(tmp_path.iterdir()) == []


def statuses(folder: Path) -> dict[str, str]:
    with (folder / "summary.csv").open() as file:
        return {row["job"]: row["status"] for row in csv.DictReader(file)}


def test_a_job_that_was_killed_is_interrupted_and_one_that_runs_is_not_entered(
    tmp_path: Path,
) -> None:
    for number, status in enumerate(["finished", "running", "running"]):
        job(tmp_path, number, {}, status=status)
    with locked(tmp_path / "2"):
        summarize(tmp_path)
        assert statuses(tmp_path) == {"0": "finished", "1": "interrupted"}
        assert header(tmp_path)[2] == "seed"
    summarize(tmp_path)
    assert statuses(tmp_path) == {"0": "finished", "1": "interrupted", "2": "interrupted"}


def test_of_jobs_that_end_at_once_none_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second ends while the first writes, as under a launcher that runs several."""
    job(tmp_path, 0, {})
    draw = sweep._draw

    def and_meanwhile(*args: object) -> None:
        draw(*args)  # type: ignore[arg-type]
        if not (tmp_path / "1").exists():
            job(tmp_path, 1, {})

    monkeypatch.setattr(sweep, "_draw", and_meanwhile)
    summarize(tmp_path)
    assert statuses(tmp_path) == {"0": "finished", "1": "finished"}


@pytest.mark.parametrize("status", ["finished", "running", "failed"])
def test_a_refused_job_leaves_the_result_that_is_there(tmp_path: Path, status: str) -> None:
    job(tmp_path, 0, {"val/knn_top1": 0.5}, status=status)
    before = (tmp_path / "0" / "result.json").read_text()
    hydra = {"mode": {"name": "MULTIRUN"}, "sweep": {"dir": str(tmp_path), "subdir": "0"}}
    config = OmegaConf.create({"hydra": hydra, "name": "x", "seed": 0})
    refused = JobReturn(overrides=["seed=0"], status=JobStatus.FAILED)
    refused.return_value = ValueError("holds a run")
    SweepSummary().on_job_end(config, refused)
    assert (tmp_path / "0" / "result.json").read_text() == before
    config.hydra.sweep.subdir = "1"
    SweepSummary().on_job_end(config, refused)
    assert RunFolder(tmp_path / "1").read_result()["error"] == "holds a run"


def test_numbers_that_are_not_finite_are_no_scores(tmp_path: Path) -> None:
    job(tmp_path, 0, {"val/knn_top1": math.nan}, status="nan")
    job(tmp_path, 1, {"val/knn_top1": 0.5, "train/loss": math.inf})
    summarize(tmp_path)
    assert statuses(tmp_path) == {"0": "nan", "1": "finished"}
    assert "| 50.0 |  | 1 of 2 |" in (tmp_path / "summary.md").read_text()


def test_it_ends_with_a_compact_table_and_the_place_of_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores: list[float | None] = [0.5 - i / 100 for i in range(30)]
    folder = grid(tmp_path / "grid", scores, lr="a,b,c,d,e", seed="0,1,2,3,4,5")
    summary, config = SweepSummary(), OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    summary.on_multirun_start(config)
    summary.on_multirun_end(config)
    printed = capsys.readouterr().out
    assert "grid: 30 runs: 30 finished" in printed
    assert "highest of 5 settings: lr=a: val/knn_top1 47.5% (95% interval" in printed
    assert printed.splitlines()[-1] == f"summary: {folder / 'summary.md'}"
    names = ("summary.csv", "summary.md", "summary.png")
    assert all((folder / name).is_file() for name in names)

    many = grid(tmp_path / "many", scores, lr=",".join(map(str, range(30))))
    sweep._at_end(many, os.getpid())
    printed = capsys.readouterr().out
    assert sum(line.startswith("│") for line in printed.splitlines()) == 20  # the best ones
    assert "│ 19 " in printed
    assert "the first 20 of 30 settings" in printed
    sweep._at_end(many, os.getpid() + 1)  # of a process that it started
    sweep._at_end(tmp_path / "none", os.getpid())
    assert capsys.readouterr().out == ""
