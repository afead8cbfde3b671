"""`python -m ssl_zoo.table`: sweeps and runs beside each other, with evaluate.py's scores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.sweeps import ended, evaluated, grid
from ssl_zoo.table import main, print_runs
from ssl_zoo.types import UserError

SCORES: list[float | None] = [0.50, 0.52, 0.61, 0.63, None, 0.4]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three methods of two seeds, one of which failed; kNN on test of all that finished."""
    folder = grid(tmp_path / "grid", SCORES, method="simclr,moco,byol", seed="0,1")
    for i, score in enumerate(SCORES):
        if score is not None:
            evaluated(folder / str(i), "knn", score - 0.01, random_init=0.2, raw_pixels=0.3)
    return folder


def rows(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The table's cells, its titles first."""
    lines = capsys.readouterr().out.splitlines()
    return [
        [cell.strip() for cell in line.replace("┃", "│").split("│")[1:-1]]
        for line in lines
        if line.startswith(("│", "┃"))
    ]


def test_a_sweep_has_a_line_for_each_setting_and_evaluations_rows(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_runs([sweep])
    assert rows(capsys) == [
        ["runs", "method", "n", "val/knn_top1, %", "95% interval", "knn, %"],
        ["0, 1", "simclr", "2", "51.0 ± 1.4", "38.3 to 63.7", "50.0 ± 1.4"],
        ["2, 3", "moco", "2", "62.0 ± 1.4", "49.3 to 74.7", "61.0 ± 1.4"],
        ["4, 5", "byol", "1 of 2", "40.0", "", "39.0"],
        ["random init", "", "", "", "", "20.0"],
        ["raw pixels", "", "", "", "", "30.0"],
    ]


def test_columns_are_chosen_and_sorted_by(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_runs([sweep], ["knn/test_top5", "val/knn_top1"], sort="val/knn_top1")
    table = rows(capsys)
    assert table[0] == [
        "runs",
        "method",
        "n",
        "knn/test_top5, %",
        "95% interval",
        "val/knn_top1, %",
    ]
    assert [row[1] for row in table[1:4]] == ["moco", "simclr", "byol"]
    print_runs([sweep], ["knn"], sort="method")
    assert [row[1] for row in rows(capsys)[1:4]] == ["byol", "moco", "simclr"]
    numbers = grid(sweep.parent / "numbers", [0.1, 0.2, 0.3], lr="10,9,1e-1")
    print_runs([numbers], sort="lr")
    assert [row[1] for row in rows(capsys)[1:]] == ["0.1", "9", "10"]


def test_each_run_of_a_sweep(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_runs([sweep], by_run=True)
    table = rows(capsys)
    assert table[0] == ["", "method", "seed", "status", "val/knn_top1, %", "knn, %"]
    assert table[5] == ["4", "byol", "0", "failed", "", ""]
    assert table[6] == ["5", "byol", "1", "finished", "40.0", "39.0"]


def test_several_sweeps_are_one_table(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds of one setting are one line, also from several folders."""
    more = grid(sweep.parent / "more", [0.6, 0.8], method="moco,simsiam", seed="2")
    print_runs([sweep, more])
    found = {row[1]: (row[0], row[2]) for row in rows(capsys)[1:]}
    assert found["moco"] == ("grid/2, grid/3, more/0", "3")
    assert found["simsiam"] == ("more/1", "1")


def test_a_folder_of_runs_and_sweeps_has_the_runs_of_all(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(sweep.parent / "alone", {"method": "simclr", "seed": "2"}, 0.54)
    print_runs([sweep.parent])
    output = capsys.readouterr().out
    assert f"{sweep.parent}, with sweeps in it: grid: 7 runs: 6 finished, 1 failed" in output
    assert "alone, grid/0, grid/1" in output
    assert "52.0 ± 2.0" in output  # of three seeds
    print_runs([sweep.parent, sweep], by_run=True)
    assert capsys.readouterr().out.count("simclr") == 3  # each run once


def test_runs_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With scores, without, and a folder of evaluate.py that is of no run."""
    a = ended(tmp_path / "a", {"method": "moco"}, 0.5)
    b = ended(tmp_path / "b", {"method": "byol", "seed": "1"}, 0.6, status="interrupted")
    other = tmp_path / "random_shapes"
    other.mkdir()
    evaluated(a, "knn", 0.4, random_init=0.2)
    evaluated(b, "knn", 0.45, random_init=0.25)
    evaluated(b, "linear", 0.7)
    evaluated(other, "knn", 0.2)
    print_runs([a, b, other])
    out = capsys.readouterr().out
    assert out.splitlines()[-2:] == [
        "interrupted: b",
        "b: scored as the last checkpoint that was saved",
    ]
    print_runs([a, b, other])
    assert rows(capsys) == [
        ["", "method", "seed", "status", "val/knn_top1, %", "knn, %", "linear, %"],
        ["a", "moco", "0", "finished", "50.0", "40.0", ""],
        ["b", "byol", "1", "interrupted", "60.0", "45.0", "70.0"],
        ["random init (a)", "", "", "", "", "20.0", ""],
        ["random init (b)", "", "", "", "", "25.0", ""],
        ["random_shapes", "", "", "", "", "20.0", ""],
    ]


def test_scores_of_several_ids_are_not_in_one_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (ended(tmp_path / name, {"method": name}, None) for name in "ab")
    evaluated(a, "knn", 0.4, id="aaaaaaaa")
    evaluated(b, "knn", 0.5, id="bbbbbbbb")
    print_runs([a, b])
    assert "knn: scores with different ids were made with other settings" in capsys.readouterr().out
    print_runs([a, b], sort="knn (bbbbbbbb)")
    assert rows(capsys) == [
        ["", "method", "knn (aaaaaaaa), %", "knn (bbbbbbbb), %"],
        ["b", "b", "", "50.0"],
        ["a", "a", "40.0", ""],
    ]


def test_a_reason_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        ended(tmp_path / str(i), {"lr": str(i)}, None, status="nan", error="the loss is NaN")
    print_runs([tmp_path])
    assert capsys.readouterr().out.count("nan: 0, 1, 2: the loss is NaN") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "nowhere is not a folder: give a run's, or a sweep's"),
        (["grid/0/evaluation"], "grid/0/evaluation holds no run: give the folder of a run"),
        (["grid", "--metric", "val/knn"], "--metric val/knn: no run has it: did you mean"),
        (["grid", "--sort", "metod"], "--sort metod: no run has it: did you mean method?"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    monkeypatch.chdir(sweep.parent)
    names = [name for name in given if not name.startswith("--")]
    flags = dict(zip(given[1::2], given[2::2], strict=True))
    with pytest.raises(UserError, match="^" + message.replace("?", r"\?")):
        print_runs(
            [Path(names[0])],
            [flags["--metric"]] if "--metric" in flags else [],
            flags.get("--sort"),
        )


def test_the_command_imports_no_torch(sweep: Path) -> None:
    code = (
        "import sys; from ssl_zoo import table; table.main();"
        "assert not {'torch', 'matplotlib', 'sklearn'} & sys.modules.keys()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "grid", "--metric", "knn,val/knn_top1", "--sort", "knn"],
        cwd=sweep.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.index("moco") < done.stdout.index("simclr")


def test_bad_input_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["table", "nowhere", "--runs"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        "error: nowhere is not a folder: give a run's, or a sweep's\n"
    )
