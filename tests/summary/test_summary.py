"""What a summary says of a sweep's runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from helpers.sweeps import ended, grid
from ssl_zoo.console import short_values
from ssl_zoo.metric_names import KNN_TOP1, metric_named
from ssl_zoo.summary import (
    Job,
    as_csv,
    as_markdown,
    best_in_words,
    lines_of,
    objective_of_jobs,
    read_jobs,
    unfinished,
)

SIX = [0.50, 0.52, 0.57, 0.61, 0.60, None]


def markdown(jobs: list[Job]) -> list[str]:
    text = as_markdown("grid", jobs, lines_of(jobs), objective_of_jobs(jobs), "summary.png")
    return text.splitlines()


def test_a_setting_has_its_mean_s_n_and_interval(tmp_path: Path) -> None:
    jobs = read_jobs([grid(tmp_path, SIX, method="simclr,moco", seed="0,1,2")])
    lines = markdown(jobs)
    assert lines[2] == "6 runs: 5 finished, 1 failed."
    assert lines[4] == "| method | val/knn_top1, % | s | n | 95% interval | runs |"
    low, high = stats.t.interval(0.95, 2, 0.53, stats.sem(SIX[:3]))
    assert (
        lines[6] == f"| simclr | 53.0 | 3.6 | 3 | {100 * low:.1f} to {100 * high:.1f} | 0, 1, 2 |"
    )
    assert lines[7].startswith("| moco | 60.5 | 0.7 | 2 of 3 | 54.1 to 66.9 |")
    assert "- failed: 5" in lines


def test_a_group_has_its_options_name(tmp_path: Path) -> None:
    """Also where a job was not given it: as it was chosen, else as its config says."""
    ended(tmp_path / "0", {"method/loss": "triplet", "backbone": "timm"}, 0.5)
    ended(tmp_path / "1", {}, 0.6, choices={"method/loss": "info_nce", "backbone": "convnet"})
    ended(tmp_path / "2", {"method/loss": "nce"}, 0.7)
    config = "run_dir: x\nbackbone: {_target_: ssl_zoo.backbones.resnet18}\n"
    (tmp_path / "2" / "config.yaml").write_text(config)
    jobs = read_jobs([tmp_path])
    text = as_csv(jobs, list(lines_of(jobs)[0].values), KNN_TOP1).splitlines()
    assert text[0] == "job,status,method/loss,backbone,val/knn_top1,seconds,error"
    chosen = [row.split(",")[2:4] for row in text[1:]]
    assert chosen == [["triplet", "timm"], ["info_nce", "convnet"], ["nce", "resnet18"]]


def test_the_best_setting_has_its_interval_or_says_that_it_is_one_run(tmp_path: Path) -> None:
    jobs = read_jobs([grid(tmp_path / "a", SIX, method="simclr,moco", seed="0,1,2")])
    said = best_in_words(lines_of(jobs), KNN_TOP1)
    assert said == (
        "highest of 2 settings: method=moco: val/knn_top1 60.5% (95% interval 54.1 to 66.9, "
        "n = 2 of 3); the interval of 1 other overlaps it"
    )
    falling = [("loss", 3.0), ("loss", 2.0)]
    for i, (name, value) in enumerate(falling):
        ended(tmp_path / "b" / str(i), {"lr": str(i)}, None, metrics={name: value})
    said = best_in_words(lines_of(read_jobs([tmp_path / "b"])), metric_named("loss"))
    assert said.startswith("lowest of 2 settings: lr=1: loss 2.000 (n = 1: one run says nothing")
    tied = read_jobs([grid(tmp_path / "d", [0.5, 0.5, 0.4], method="simclr,moco,byol")])
    assert best_in_words(lines_of(tied), KNN_TOP1).endswith("; 1 more has the same mean")
    one = read_jobs([grid(tmp_path / "e", [0.5, None], method="simclr,moco")])
    said = best_in_words(lines_of(one), KNN_TOP1)
    assert said.startswith("only 1 of 2 settings has a score: method=simclr: val/knn_top1 50.0%")
    failed = read_jobs([grid(tmp_path / "c", [None], method="moco")])
    assert best_in_words(lines_of(failed), KNN_TOP1) == ""


@pytest.mark.parametrize(
    ("objective", "metrics", "name"),
    [
        (None, {"train/loss": 1.0, "val/map_at_r": 0.5}, "val/map_at_r"),
        ("train/loss", {"train/loss": 1.0, "val/knn_top1": 0.5}, "train/loss"),
        ("mine/score", {}, "mine/score"),  # no run came to log it
    ],
)
def test_runs_are_compared_by_what_they_were_told(
    tmp_path: Path, objective: str | None, metrics: dict[str, float], name: str
) -> None:
    ended(tmp_path / "0", {}, None, metrics={}, status="failed")
    ended(tmp_path / "1", {}, None, metrics=metrics, objective=objective)
    assert objective_of_jobs(read_jobs([tmp_path])).name == name


def test_each_reason_is_told_once_and_in_a_line(tmp_path: Path) -> None:
    long = "CUDA out of memory.\n" + "x y " * 200
    for i in range(9):
        ended(tmp_path / str(i), {"lr": str(i)}, None, status="out_of_memory", error=long)
    ended(tmp_path / "9", {"lr": "9"}, None, status="nan", error="the loss is NaN")
    ended(tmp_path / "10", {"lr": "10"}, None, status="something new")
    said = unfinished(read_jobs([tmp_path]))
    assert said[0].startswith("out_of_memory: 0, 1 ... 8: CUDA out of memory. x y x y")
    assert said[1:] == ["nan: 9: the loss is NaN", "something new: 10"]
    assert all("\n" not in line and len(line) < 250 for line in said)


def test_only_runs_that_reached_their_last_step_enter_a_mean(tmp_path: Path) -> None:
    for i, status in enumerate(["finished", "collapsed", "pruned", "interrupted", "nan"]):
        ended(tmp_path / str(i), {"seed": str(i)}, 0.5 + i / 10, status=status)
    jobs = read_jobs([tmp_path])
    assert lines_of(jobs)[0].of(KNN_TOP1.name) == [0.5, 0.6]
    assert "| 55.0 | 7.1 | 2 of 5 |" in markdown(jobs)[6]
    assert [line.of(KNN_TOP1.name) for line in lines_of(jobs, by_run=True)][2] == [0.7]


def test_numbers_and_names_are_short(tmp_path: Path) -> None:
    values = ["0.030000000000000002", "1e-05", "/data/" + "long/" * 20 + "set_1"]
    for i, value in enumerate(values):
        ended(tmp_path / str(i), {"a": value}, 0.123456789)
    cells = [line.split(" | ")[:2] for line in markdown(read_jobs([tmp_path]))[6:9]]
    assert cells[:2] == [["| 0.03", "12.3"], ["| 1e-5", "12.3"]]
    assert cells[2][0].endswith("long/set_1")
    assert len(cells[2][0]) == 42


def test_numbers_have_as_many_digits_as_tell_them_apart() -> None:
    assert short_values(["0.123456", "0.2", "1e-05"]) == ["0.123", "0.2", "1e-5"]
    assert short_values(["0.123456", "0.123411", "null"]) == ["0.1235", "0.1234", "null"]
    assert short_values(["0.10", "0.1", "100000", "-3.0", "2e7"]) == [
        "0.1",
        "0.1",
        "100000",
        "-3",
        "2e7",
    ]


def test_one_job_has_a_summary(tmp_path: Path) -> None:
    lines = markdown(read_jobs([grid(tmp_path, [0.5], method="moco")]))
    assert lines[4:8] == [
        "| val/knn_top1, % | s | n | 95% interval | runs |",
        "| --- | --- | --- | --- | --- |",
        "| 50.0 |  | 1 |  | 0 |",
        "",
    ]
    assert "n = 1: one run says nothing about the spread" in lines[8]


def test_files_that_are_cut_short_spoil_no_table(tmp_path: Path) -> None:
    folder = grid(tmp_path, [0.5, 0.6, 0.7], seed="0,1,2")
    (folder / "1" / "result.json").write_text('{"status": "fin')
    (folder / "2" / "config.yaml").write_text("a: [b")
    (folder / "multirun.yaml").write_text("a: [b")
    jobs = read_jobs([folder])
    assert [job.status for job in jobs] == ["finished", "interrupted", "finished"]
    assert "interrupted: 1: " in unfinished(jobs)[0]
    assert "result.json cannot be read" in unfinished(jobs)[0]
