"""Whole searches as a user starts them: killed, shared by two processes, pruned."""

from __future__ import annotations

import csv
import shlex
import signal
from pathlib import Path

import pytest

from helpers.configs import TINY
from helpers.runs import reached, start

CHEAP = [
    *(one for one in TINY if not one.startswith("epochs")),
    *(
        "dataset.splits.num_train=140",
        "~callbacks.linear_probe",
        "trainer.enable_progress_bar=false",
    ),
]
KNOBS = ["method.temperature=interval(0.02,1)", "optimizer.lr=tag(log,interval(1e-4,1e-1))"]
SEARCH = ["-m", "hydra/sweeper=optuna", *CHEAP, *KNOBS]


def table(folder: Path) -> list[list[str]]:
    """trials.csv without the seconds."""
    with (folder / "trials.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def trained(output: str) -> int:
    """How many runs began in a process."""
    return output.count("SimCLR on shapes, in ")


@pytest.mark.soak
def test_a_search_killed_in_its_third_trial_ends_like_any_other(tmp_path: Path) -> None:
    line = [
        *SEARCH,
        "epochs=3",
        "hydra.sweeper.n_trials=6",
        "hydra.sweeper.sampler.n_startup_trials=2",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    output = start(*line, f"hydra.sweep.dir={whole}").communicate()[0]
    assert trained(output) == 6, output
    run = start(*line, f"hydra.sweep.dir={killed}")
    while not reached(killed / "2", 4):  # in its third epoch: two are saved
        assert run.poll() is None, run.communicate()[0]
    run.kill()
    first = run.communicate()[0]
    assert trained(first) == 3
    again = start(*line, f"hydra.sweep.dir={killed}")
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert f"resumed in {killed / '2'}" in output
    assert trained(output) == 3
    assert table(killed) == table(whole)
    assert len(table(whole)) == 7
    assert {row[1] for row in table(whole)[1:]} == {"finished"}
    for name in ("history.png", "importance.png", "summary.csv"):
        assert (killed / name).is_file()


@pytest.mark.soak
@pytest.mark.ddp
def test_two_processes_share_a_search(tmp_path: Path) -> None:
    line = [*SEARCH, "epochs=1", "hydra.sweeper.n_trials=6", f"hydra.sweep.dir={tmp_path / 's'}"]
    runs = [start(*line), start(*line)]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    numbers = [trained(output) for output in outputs]
    assert sum(numbers) == 6, outputs
    assert min(numbers) > 0
    rows = table(tmp_path / "s")[1:]
    assert [row[:2] for row in rows] == [[str(number), "finished"] for number in range(6)]
    assert len({tuple(row[3:5]) for row in rows}) == 6


@pytest.mark.soak
def test_a_search_with_joblib(tmp_path: Path) -> None:
    together = ["hydra/launcher=joblib", "hydra.sweeper.n_jobs=2", "hydra.launcher.n_jobs=2"]
    folder = f"hydra.sweep.dir={tmp_path / 's'}"
    run = start(*SEARCH, "epochs=1", "hydra.sweeper.n_trials=4", *together, folder)
    output = run.communicate()[0]
    assert run.returncode == 0, output
    assert [row[1] for row in table(tmp_path / "s")[1:]] == ["finished"] * 4


@pytest.mark.soak
def test_a_search_prunes(tmp_path: Path) -> None:
    median = ["hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1"]
    folder = tmp_path / "s"
    line = [*SEARCH, *median, "epochs=3", "hydra.sweeper.n_trials=6", f"hydra.sweep.dir={folder}"]
    run = start(*line)
    output = run.communicate()[0]
    assert run.returncode == 0, output
    rows = table(folder)[1:]
    pruned = [row for row in rows if row[1] == "pruned"]
    assert pruned
    assert all(int(row[-1]) < 3 for row in pruned)
    assert all(int(row[-1]) == 3 for row in rows if row[1] == "finished")
    assert len(pruned) + [row[1] for row in rows].count("finished") == 6
    assert f"{len(pruned)} pruned" in output
    assert trained(start(*line).communicate()[0]) == 0


@pytest.mark.soak
def test_ctrl_c_says_how_the_search_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "my search"
    run = start(*SEARCH, "epochs=4", "hydra.sweeper.n_trials=2", f"hydra.sweep.dir={folder}")
    while not reached(folder / "0", 5):
        assert run.poll() is None, run.communicate()[0]
    run.send_signal(signal.SIGINT)
    output = run.communicate()[0]
    assert run.returncode == 130, output
    (said,) = [line for line in output.splitlines() if "continue all of it with: " in line]
    python, program, *args = shlex.split(said.partition("with: ")[2])
    assert [python, program] == ["python", "train.py"]
    args = [arg.replace("epochs=4", "epochs=2") for arg in args]
    refused = start(*args)
    assert "epochs=2 (was 4)" in refused.communicate()[0]
    assert refused.returncode == 2
    args[args.index("epochs=2")] = "epochs=4"
    again = start(*args, "hydra.sweeper.n_trials=1")
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert f"resumed in {folder / '0'}" in output
