"""Jobs of a real SLURM, where there is one: `sbatch` on PATH, and a node of two free CPUs.

They take minutes: SLURM waits for two of them before it starts again what was requeued.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from time import sleep

import pytest

from helpers.paths import ROOT
from helpers.ranks import DDP, SMALL, output_of, started
from helpers.runs import assert_equal, reached, state
from ssl_zoo.run_folder import RunFolder

pytestmark = [
    pytest.mark.soak,
    pytest.mark.ddp,
    pytest.mark.skipif(which("sbatch") is None, reason="there is no SLURM here"),
]

LONG = [*SMALL, *DDP, "epochs=30", "save_every_n_minutes=1000"]
HOME = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder whose jobs are cancelled in the end."""
    yield tmp_path
    subprocess.run(["scancel", f"--name={tmp_path.name}"], check=False)


def job_state(job: str) -> dict[str, str]:
    shown = subprocess.check_output(["scontrol", "show", "job", job], text=True)
    return dict(re.findall(r"(\w+)=(\S+)", shown))


def until_reached(runs: Path, step: int, process: subprocess.Popen[str] | None = None) -> Path:
    while not (found := [p.parent for p in runs.glob("*/metrics.csv") if reached(p.parent, step)]):
        assert process is None or process.poll() is None, process.communicate()[0]
        sleep(0.2)
    (run,) = found
    return run


def assert_whole(run: Path, place: Path) -> None:
    assert RunFolder(run).read_result()["status"] == "finished"
    output_of(str(ROOT / "train.py"), *LONG, "run_dir=whole", cwd=place, **HOME)
    assert_equal(state(run)["state_dict"], state(place / "whole")["state_dict"], "weights")


def test_a_script_that_is_told_that_its_time_ends_is_queued_again_and_goes_on(place: Path) -> None:
    command = " ".join(["python", "-W", "ignore", str(ROOT / "train.py"), *LONG, "requeue=true"])
    script = place / "job.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH --nodes=1 --ntasks-per-node=2 --time=30 --signal=USR1@60\n"
        "#SBATCH --requeue --open-mode=append --output=out\n"
        f"srun --kill-on-bad-exit=1 {command}\n"
    )
    submit = ["sbatch", "--parsable", f"--job-name={place.name}", str(script)]
    job = subprocess.check_output(submit, cwd=place, env=os.environ | HOME, text=True).strip()
    run = until_reached(place / "runs", 9)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    while (now := job_state(job))["JobState"] not in ("COMPLETED", "FAILED", "CANCELLED"):
        sleep(1)
    output = (place / "out").read_text()
    assert (now["JobState"], now["Restarts"]) == ("COMPLETED", "1"), output
    assert f"queueing SLURM job {job} again" in output
    assert output.count(f"slurm {job} was started again: {run} goes on") == 1
    assert list((place / "runs").iterdir()) == [run]
    assert_whole(run, place)


def test_submitit_s_job_of_two_tasks_is_queued_again_and_goes_on(place: Path) -> None:
    launcher = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", f"name={place.name}"]
    launcher += ["hydra.launcher.cpus_per_task=1", f"hydra.launcher.name={place.name}"]
    command = [str(ROOT / "train.py"), "-m", *LONG, "sweep=x", *launcher]
    sweep = place / "runs" / "x"
    with started(*command, cwd=place, **HOME) as process:
        run = until_reached(sweep, 9, process)
        listed = ["squeue", "-h", f"--name={place.name}", "-o", "%i"]
        job = subprocess.check_output(listed, text=True).strip()
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
        output = process.communicate()[0]
        assert process.returncode == 0, output
    logs = "".join(path.read_text() for path in sweep.glob(".submitit/*/*_0_log.err"))
    assert "stopped by SIGUSR2 at step" in logs
    assert "runs/x/0 is interrupted: it goes on" in logs
    assert_whole(run, place)
