"""What a sweep leaves beside its runs."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.sweep import summarize


def job(folder: Path, number: int, metrics: dict[str, float], status: str = "finished") -> None:
    result = {"status": status, "name": "x", "seed": number, "seconds": 1.0, "metrics": metrics}
    RunFolder(folder / str(number)).write_result(result | {"overrides": [f"seed={number}"]})


def header(folder: Path) -> list[str]:
    with (folder / "summary.csv").open() as file:
        return next(csv.reader(file))


@pytest.mark.parametrize("name", ["val/knn_top1", "val/map_at_r"])
def test_the_objective_that_was_logged_comes_first(tmp_path: Path, name: str) -> None:
    job(tmp_path, 0, {"train/loss": 1.0, name: 0.5})
    job(tmp_path, 1, {}, status="failed")
    summarize(tmp_path)
    assert header(tmp_path) == ["job", "status", "seed", name, "train/loss", "seconds"]
    assert (tmp_path / "summary.png").stat().st_size > 1000


def test_where_all_jobs_failed_the_column_is_there(tmp_path: Path) -> None:
    job(tmp_path, 0, {}, status="failed")
    (tmp_path / "multirun.yaml").touch()
    summarize(tmp_path)
    assert header(tmp_path) == ["job", "status", "val/knn_top1", "seconds"]


def test_jobs_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        job(tmp_path, number, {"val/knn_top1": 0.1})
    summarize(tmp_path)
    with (tmp_path / "summary.csv").open() as file:
        assert [row["job"] for row in csv.DictReader(file)] == ["1", "2", "10"]


def test_nothing_is_written_where_there_is_no_job(tmp_path: Path) -> None:
    summarize(tmp_path)
    assert list(tmp_path.iterdir()) == []
