"""Sweeps that are stopped, killed, or lose a job, in real processes."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.ranks import DDP, SMALL
from helpers.runs import assert_equal, reached, state
from ssl_zoo.run_folder import RunFolder

JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
LONG = [*SMALL, "epochs=6", "save_every_n_minutes=1000"]  # 4 steps an epoch


def sweep(folder: Path, *args: str, **environment: str) -> subprocess.Popen[str]:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *args],
        cwd=folder,
        env=env | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    output = process.communicate()[0]
    assert process.returncode == code, output
    return output


def when(process: subprocess.Popen[str], come: Callable[[], bool]) -> None:
    while not come():
        assert process.poll() is None, process.communicate()[0]


def table(folder: Path) -> list[dict[str, str]]:
    """The summary's rows by what was swept, but for the time that they took."""
    with (folder / "summary.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return sorted(rows, key=str)


def status(run: Path) -> str:
    return str(RunFolder(run).read_result().get("status"))


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """All that a run logged, but for seconds and memory."""
    logged = RunFolder(run).read_metrics().items()
    return {name: points for name, points in logged if not name.startswith("speed/")}


def pid_of(run: Path) -> int:
    return int(json.loads((run / "lock.json").read_text())["pid"])


@pytest.mark.soak
@pytest.mark.parametrize("launcher", [[], JOBLIB], ids=["basic", "joblib"])
def test_a_sweep_that_is_killed_in_its_third_job_trains_each_job_once(
    tmp_path: Path, launcher: list[str]
) -> None:
    grid = [*LONG, "epochs=25", "method=simclr,simsiam", "seed=0,1,2"]
    ended(sweep(tmp_path, *grid, *launcher, "sweep=whole"))
    whole, cut = tmp_path / "runs" / "whole", tmp_path / "runs" / "cut"
    first = sweep(tmp_path, *grid, *launcher, "sweep=cut")
    when(first, lambda: reached(cut / "2", 10))  # two epochs are saved
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = {run: (cut / run / "metrics.csv").stat().st_mtime_ns for run in "01"}
    interrupted = [run.name for run in sorted(cut.iterdir()) if status(run) == "interrupted"]
    assert "2" in interrupted
    kept = [run for run in "01" if status(cut / run) == "finished"]

    output = ended(sweep(tmp_path, *grid, *launcher, "sweep=cut"))
    assert [output.count(f"runs/cut/{run} is finished: kept") for run in kept] == [1] * len(kept)
    assert "runs/cut/2 is interrupted: it goes on" in output
    for run in kept:
        assert (cut / run / "metrics.csv").stat().st_mtime_ns == before[run]
    assert table(cut) == table(whole)
    assert sorted(path.name for path in cut.iterdir() if path.is_dir()) == list("012345")
    for run in "012345":
        ours, theirs = state(cut / run), state(whole / run)
        assert_equal(ours["state_dict"], theirs["state_dict"], run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "signum"), [([], signal.SIGINT), (JOBLIB[:1], signal.SIGTERM)],
    ids=["basic", "joblib"],
)  # fmt: skip
def test_what_stops_a_sweep_is_answered_with_the_command_that_goes_on_with_all_of_it(
    tmp_path: Path, launcher: list[str], signum: int
) -> None:
    grid = [*LONG, "epochs=40", "seed=0,1,2", "name='a b'", *launcher, "hydra.sweep.dir=at/here"]
    process = sweep(tmp_path, *grid)
    when(process, lambda: reached(tmp_path / "at" / "here" / "0", 3))
    process.send_signal(signum)
    output = ended(process, 128 + signum)
    (line,) = [line for line in output.splitlines() if "continue all of it with: " in line]
    assert re.match(r"at/here: \d of 3 jobs done, ", line)
    assert output.count("continue with") == 0
    assert "Traceback" not in output
    words = shlex.split(line.partition("continue all of it with: ")[2])
    assert words[:3] == ["python", "train.py", "-m"]
    assert words[-1] == "sweep=at/here"
    ended(sweep(tmp_path, *words[3:]))
    assert [row["status"] for row in table(tmp_path / "at" / "here")] == ["finished"] * 3


OWN = """
import os, signal
from pytorch_lightning import Callback

class Ends(Callback):
    def __init__(self, how):
        assert "LEFT_BEHIND" not in os.environ
        assert signal.getsignal(signal.SIGUSR1) != signal.SIG_IGN
        self.how = how

    def on_train_batch_end(self, trainer, *args):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        os.environ["LEFT_BEHIND"] = "x"
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "memory":
            raise MemoryError("no memory left")
        if self.how == "bug":
            raise RuntimeError("a bug")
        if self.how == "exits":
            raise SystemExit(3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], JOBLIB], ids=["basic", "joblib"])
def test_no_job_takes_the_others_along_and_each_row_says_how_it_ended(
    tmp_path: Path, launcher: list[str]
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    ways = ["memory", "bug", "killed" if launcher else "exits", "fine"]
    own = ["+callbacks.mine._target_=mine.Ends", f"+callbacks.mine.how={','.join(ways)}"]
    args = [*SMALL, *own, "method=simclr", *launcher, "hydra.sweeper.max_batch_size=2", "sweep=x"]
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    output = ended(sweep(tmp_path, *args, **path), 1)
    runs = [tmp_path / "runs" / "x" / str(number) for number in range(4)]
    statuses = ["out_of_memory", "failed", "failed", "finished"]
    assert [status(run) for run in runs] == statuses
    assert output.count("RuntimeError: a bug") == 1
    assert output.count("error: job 1: a bug") == 1
    assert "runs/x: 2 of 4 jobs failed: 1, 2;" in output
    if launcher:
        why = "its process was killed by SIGKILL (often: out of memory)"
        assert output.count(f"error: job 2: {why}") == 1
        assert RunFolder(runs[2]).read_result()["error"] == why
    assert len(table(tmp_path / "runs" / "x")) == 4

    again = ended(sweep(tmp_path, *args, **path), 1)  # the same, where nothing was saved
    assert again.count("is finished: kept") == 1
    assert len(table(tmp_path / "runs" / "x")) == 4
    assert sorted(p.name for p in runs[0].parent.iterdir() if p.is_dir()) == list("0123")


@pytest.mark.slow
def test_nan_is_a_result_and_a_grid_that_grows_trains_what_was_added(tmp_path: Path) -> None:
    args = [*SMALL, "optimizer=sgd", "dataset.mean=[0,0,0]", "sweep=x"]
    folder = tmp_path / "runs" / "x"
    output = ended(sweep(tmp_path, *args, "optimizer.lr=0.1,1e30,1e30"))
    assert "optimizer.lr=0.1,1e30,1e30 names a value twice: run once" in output
    assert output.count("the loss is nan at step") == 2  # when it happens, and at the end
    assert [status(folder / run) for run in "01"] == ["finished", "nan"]
    output = ended(sweep(tmp_path, *args, "optimizer.lr=0.2,0.1,1e30", "seed=0"))
    assert "runs/x/0 is finished: kept" in output
    assert "runs/x/1 is nan: kept" in output
    added = RunFolder(folder / "0-2").read_result()
    assert "optimizer.lr=0.2" in added["overrides"]
    assert len(table(folder)) == 3


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_jobs_of_two_processes_equal_the_same_runs_alone(tmp_path: Path) -> None:
    args = [*SMALL, *DDP]
    ended(sweep(tmp_path, *args, "seed=0,1", "sweep=x", *JOBLIB[:1]))
    for seed in "01":
        alone = tmp_path / f"alone{seed}"
        command = [sys.executable, "train.py", *args, f"seed={seed}", f"run_dir={alone}"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        swept = tmp_path / "runs" / "x" / seed
        assert_equal(state(swept)["state_dict"], state(alone)["state_dict"], seed)
        assert curves(swept) == curves(alone)


@pytest.mark.slow
def test_submitit_s_processes_on_this_machine(tmp_path: Path) -> None:
    """Refused before torch is imported: the cheapest jobs that there are."""
    args = ["epochs=0", "hydra/launcher=submitit_local", "seed=0,1", "sweep=x"]
    ended(sweep(tmp_path, *args), 2)
    assert [row["status"] for row in table(tmp_path / "runs" / "x")] == ["failed"] * 2
    for run in "01":
        error = RunFolder(tmp_path / "runs" / "x" / run).read_result()["error"]
        assert error == "epochs=0: give a whole number of at least 1"
