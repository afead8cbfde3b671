"""Runs of two processes, started in every way that users start them, and ended in every way."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from helpers.paths import ROOT
from helpers.ranks import DDP, SMALL, output_of, ranks_of, runs, started
from helpers.runs import reached, state
from helpers.wandb_reader import read_run
from ssl_zoo.run_folder import RunFolder

LONG = [*SMALL, *DDP, "epochs=2000", "save_every_n_minutes=1000"]


def of_processes(test: Callable[..., None]) -> Callable[..., None]:
    """Of runs with two processes each: slow, and on one worker."""
    return pytest.mark.ddp(pytest.mark.slow(pytest.mark.xdist_group("processes")(test)))


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "result.json").read_text()))


def losses(folder: Path) -> list[tuple[int, float]]:
    return RunFolder(folder).read_metrics()["train/loss"]


def writers(folder: Path) -> set[str]:
    """The processes that wrote TensorBoard's files; one writes several."""
    return {path.name.split(".")[-2] for path in folder.glob("tensorboard/events.*")}


@of_processes
def test_two_loggers_and_two_processes(tmp_path: Path) -> None:
    output = output_of(
        "train.py", *SMALL, *DDP, "logger=[wandb,tensorboard]", f"run_dir={tmp_path}"
    )
    assert result(tmp_path)["status"] == "finished"
    assert output.count("run folder:") == 1
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    run = read_run(path)
    assert (run.exit_code, run.config["devices"]) == (0, 2)
    logged = [(r["trainer/global_step"], r["train/loss"]) for r in run.history if "train/loss" in r]
    assert logged == losses(tmp_path)
    assert len(logged) == 72 // 16
    assert len(writers(tmp_path)) == 1


@of_processes
def test_a_multirun_trains_each_job_once_and_goes_on_after_one_that_fails(tmp_path: Path) -> None:
    jobs = ["-m", "batch_size=16,100000,24", f"hydra.sweep.dir={tmp_path}"]
    output = output_of("train.py", *SMALL, *DDP, *jobs, code=2)
    status = [result(tmp_path / str(job))["status"] for job in range(3)]
    assert status == ["finished", "failed", "finished"]
    error = "batch_size=100000"  # by its knob, and not by the argument that it feeds
    assert result(tmp_path / "1")["error"].startswith(error)
    assert output.count(f"error: job 1: {error}") == 1
    assert "Traceback" not in output
    assert [step for step, _ in losses(tmp_path / "0")] == [0, 1, 2, 3]
    assert [step for step, _ in losses(tmp_path / "2")] == [0, 1]
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [row["batch_size"] for row in rows] == ["16", "100000", "24"]


@of_processes
def test_torchrun_and_srun_start_the_processes_themselves(tmp_path: Path) -> None:
    arguments = [*SMALL, *DDP, "logger=[wandb,tensorboard]"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"]
    output_of(*torchrun, *arguments, f"run_dir={tmp_path / 'torchrun'}")
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x", "SLURM_NTASKS": "2", "SLURM_NODEID": "0"}
    with ExitStack() as stack:
        tasks = []
        for rank in "01":
            env = job | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NTASKS_PER_NODE": "2"}
            command = ["-W", "ignore", "train.py", *arguments, f"run_dir={tmp_path / 'srun'}"]
            tasks.append(stack.enter_context(started(*command, **env)))
        for task in tasks:
            output = task.communicate()[0]
            assert task.returncode == 0, output
            assert not ranks_of(task.pid)
    for folder in (tmp_path / "torchrun", tmp_path / "srun"):
        assert result(folder)["status"] == "finished"
        assert len(list(folder.glob("wandb/offline-run-*/*.wandb"))) == 1
        assert len(writers(folder)) == 1
        assert losses(folder) == losses(tmp_path / "torchrun")


NOTEBOOK = """  # no guard of __main__
import sys
sys.ps1 = ">>> "  # as in a notebook
from hydra import compose, initialize_config_dir
from ssl_zoo.config import CONFIG_DIR
from ssl_zoo.train import train
with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
    cfg = compose("train", sys.argv[1:])
print("loss", train(cfg)["train/loss"])
"""


@of_processes
def test_the_command_and_a_notebook_need_no_script(tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(ROOT)}
    from_command = ["-m", "ssl_zoo.cli", "train", *SMALL, *DDP, f"run_dir={tmp_path / 'command'}"]
    cli = "import sys; from ssl_zoo.cli import main; sys.argv[0] = 'ssl-zoo'; main()"
    output_of("-c", cli, *from_command[2:], cwd=tmp_path, **env)
    output = output_of(
        "-c", NOTEBOOK, *SMALL, *DDP, f"run_dir={tmp_path / 'cell'}", cwd=tmp_path, **env
    )
    assert losses(tmp_path / "cell") == losses(tmp_path / "command")
    assert f"loss {losses(tmp_path / 'cell')[-1][1]}" in output


@of_processes
def test_a_run_is_tried_out_in_two_processes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    output = output_of(
        "train.py", *SMALL, *DDP, "trainer.fast_dev_run=2", f"hydra.run.dir={folder}"
    )
    assert output.count("it runs; nothing was kept") == 1
    assert not folder.exists()


@of_processes
def test_parts_from_elsewhere_are_imported_and_trusted_in_each_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from ssl_zoo.backbones import ConvNet as Net\n" + OWN_NET)
    (tmp_path / "random.py").write_text("raise SystemExit('a file beside the run was imported')\n")
    script = tmp_path / "elsewhere" / "my_train.py"
    script.parent.mkdir()
    lines = f"import sys\nsys.path[:0] = [{str(ROOT)!r}]\nsys.path.append({str(tmp_path)!r})\n"
    script.write_text(lines + "from ssl_zoo.train import command\ncommand()\n")
    run, second = tmp_path / "run", tmp_path / "second"
    own = ["backbone._target_=mine.Mine", f"run_dir={run}"]
    output_of(str(script), *SMALL, *DDP, *own, cwd=tmp_path)
    init = [*SMALL, *DDP, f"init={run}", f"run_dir={second}", own[0]]
    assert "trust=[mine]" in output_of(str(script), *init, code=2, cwd=tmp_path)
    output_of(str(script), *init, "trust=[mine]", cwd=tmp_path / "elsewhere")
    assert result(second)["status"] == "finished"


OWN_NET = "class Mine(Net):\n    pass\n"


# --- how they end -------------------------------------------------------------------------------


@of_processes
@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_of_which_a_process_is_killed_has_failed(tmp_path: Path, rank: int) -> None:
    with started("train.py", *LONG, "logger=wandb", f"run_dir={tmp_path}") as run:
        while not reached(tmp_path, 10):  # two epochs of four steps are saved
            assert run.poll() is None, run.communicate()[0]
        ranks = ranks_of(run.pid)
        assert sorted(ranks) == [0, 1]
        os.kill(ranks[rank], signal.SIGKILL)
        output = run.communicate()[0]
        assert run.returncode == 2, output
    assert not any(map(runs, ranks.values()))
    assert result(tmp_path)["status"] == "failed"
    assert f"rank {rank} of the run was killed by SIGKILL" in result(tmp_path)["error"]
    assert f"python train.py resume={tmp_path}" in output
    assert "Traceback" not in output


@of_processes
def test_a_stopped_run_is_saved_and_goes_on_in_two_processes(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    args = [*LONG, "epochs=12"]
    with started("train.py", *args, f"run_dir={folder}") as run:
        while not reached(folder, 10):
            assert run.poll() is None, run.communicate()[0]
        run.send_signal(signal.SIGTERM)
        output = run.communicate()[0]
        assert run.returncode == 128 + signal.SIGTERM, output
    assert result(folder)["status"] == "interrupted"
    assert output.count(f"continue with: python train.py resume={folder}") == 1
    assert output.count("stopping after this step") == 1
    assert 10 < int(state(folder)["global_step"]) < 48  # type: ignore[call-overload]
    output_of("train.py", f"resume={folder}")
    assert result(folder)["status"] == "finished"
    output_of("train.py", *args, f"run_dir={tmp_path / 'whole'}")
    assert losses(folder) == losses(tmp_path / "whole")


@of_processes
def test_an_error_in_one_process_is_the_run_s(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FAILS_ON_1)
    own = ["+callbacks.mine._target_=mine.Fails", f"run_dir={tmp_path / 'run'}"]
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    output = output_of("train.py", *LONG, *own, code=1, **env)
    assert result(tmp_path / "run")["status"] == "failed"
    assert result(tmp_path / "run")["error"] == "of one rank"
    assert "in rank 1:" in output
    assert "RuntimeError: of one rank" in output


FAILS_ON_1 = """
from pytorch_lightning import Callback
class Fails(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.global_rank == 1:
            raise RuntimeError("of one rank")
"""


@of_processes
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    with started("train.py", *LONG, f"run_dir={tmp_path}") as run:
        while not reached(tmp_path, 3):
            assert run.poll() is None, run.communicate()[0]
        ranks = ranks_of(run.pid)
        run.kill()
    while any(map(runs, ranks.values())):
        pass
    assert sorted(ranks) == [0, 1]
