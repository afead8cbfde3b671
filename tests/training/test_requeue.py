"""Jobs that are queued again, in real processes: of torchrun, of submitit, and of SLURM.

SLURM itself is emulated: by its variables, and by small programs in place of scontrol and sbatch
that write down what they were called with. tests/training/test_slurm.py has the real one.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.ranks import DDP, SMALL, output_of, ranks_of, started
from helpers.runs import assert_equal, reached, state
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.stopping import STOPPING, Asked, Stopped, stop_here
from ssl_zoo.training.requeue import NotRequeued, hand_over, say_stopped
from ssl_zoo.training.statuses import was_stopped

LONG = [*SMALL, "epochs=12", "save_every_n_minutes=1000"]  # 4 steps an epoch
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
TRAIN = str(ROOT / "train.py")
HOME = {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of what was called in place of SLURM's commands, which stand on PATH."""
    called = tmp_path / "called"
    for name in ("scontrol", "srun"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name} $@" >> {called}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return called


def stopped_at(step: int, runs: Path, process: object) -> Path:
    """The only run in a folder, once it has logged this step."""
    while True:
        assert process.poll() is None, process.communicate()[0]  # type: ignore[attr-defined]
        found = [path.parent for path in runs.glob("*/metrics.csv")]
        if found and reached(found[0], step):
            (run,) = found
            return run


def assert_same(run: Path, whole: Path) -> None:
    assert RunFolder(run).read_result()["status"] == "finished"
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert_equal(state(run)[part], state(whole)[part], part)


def step_of(run: Path) -> int:
    step = state(run)["global_step"]
    assert isinstance(step, int)
    return step


# --- what is asked ------------------------------------------------------------------------------


def test_a_signal_ahead_of_the_end_queues_the_job_again(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def said(signum: int, requeue: bool = True) -> list[str]:
        lines: list[str] = []
        say_stopped("stopped", signum, requeue, lines.append)
        return lines

    assert said(signal.SIGUSR1)[0].startswith("stopped; requeue=true: this is not a SLURM job")
    monkeypatch.setenv("SLURM_JOB_ID", "14")
    assert said(signal.SIGTERM) == said(signal.SIGUSR1, requeue=False) == ["stopped"]
    assert not cluster.exists()
    assert said(signal.SIGUSR1) == ["stopped; queueing SLURM job 14 again"]
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "14")  # that of the whole array too
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    said(signal.SIGUSR2)
    assert cluster.read_text().splitlines() == ["scontrol requeue 14", "scontrol requeue 14_3"]
    (cluster.parent / "bin" / "scontrol").write_text("#!/bin/sh\necho held >&2\nexit 1\n")
    assert said(signal.SIGUSR1)[1] == "SLURM job 14_3 was not queued again: held"


def test_only_a_second_signal_of_a_person_does_not_wait() -> None:
    asked = Asked()
    assert not any(asked.at_once(s) for s in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGTERM))
    assert asked.signum == signal.SIGUSR1
    asked._since = -1e9
    assert not asked.at_once(signal.SIGUSR2)
    assert asked.at_once(signal.SIGTERM)
    assert {s.name for s in STOPPING} == {"SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"}


# --- SLURM, emulated ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_that_slurm_starts_again_goes_on_in_its_folder(tmp_path: Path, cluster: Path) -> None:
    slurm = {"SLURM_JOB_ID": "7", "ENVIRONMENT": "BATCH", "SLURM_NTASKS": "1", **HOME}
    command, runs = [TRAIN, *LONG, "requeue=true"], tmp_path / "runs"
    with started(*command, cwd=tmp_path, **slurm) as process:
        run = stopped_at(9, runs, process)
        process.send_signal(signal.SIGUSR1)
        output = process.communicate()[0]
        assert process.returncode == 128 + signal.SIGUSR1, output
    assert cluster.read_text() == "scontrol requeue 7\n"
    assert output.count("stopped by SIGUSR1 at step") == 1
    assert "queueing SLURM job 7 again" in output
    assert RunFolder(run).read_result()["status"] == "interrupted"
    assert 9 < step_of(run) < 48

    other = output_of(*command, cwd=tmp_path, **slurm | {"SLURM_JOB_ID": "8"})
    assert "goes on" not in other  # another job is another run
    (whole,) = set(runs.iterdir()) - {run}
    again = output_of(*command, cwd=tmp_path, **slurm, SLURM_RESTART_COUNT="1")
    assert f"slurm 7 was started again: {run} goes on" in again
    assert_same(run, whole)
    # a script of several commands: what has ended is not repeated
    third = output_of(*command, cwd=tmp_path, **slurm, SLURM_RESTART_COUNT="2")
    assert f"{run} is finished: kept" in third
    assert set(runs.iterdir()) == {run, whole}


@pytest.mark.slow
def test_a_named_folder_goes_on_too_and_one_that_saved_nothing_is_trained(
    tmp_path: Path, cluster: Path
) -> None:
    slurm, here = {"SLURM_JOB_ID": "7", **HOME}, tmp_path / "here"
    command, outputs = [TRAIN, *LONG, "run_dir=here"], []
    for restart, step in (("0", 1), ("1", 9), ("2", None)):
        with started(*command, cwd=tmp_path, **slurm, SLURM_RESTART_COUNT=restart) as process:
            while step is not None and not reached(here, step):
                assert process.poll() is None, process.communicate()[0]
            if step is not None:
                process.kill()  # before an epoch is saved, then after two
            outputs.append(process.communicate()[0])
    assert re.search(r"slurm 7 was started again: \S*here had saved nothing", outputs[1])
    assert re.search(r"slurm 7 was started again: \S*here goes on", outputs[2])
    assert RunFolder(here).read_result()["status"] == "finished"
    assert not cluster.exists()


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_srun_s_tasks_stop_at_one_step_and_go_on(tmp_path: Path, cluster: Path) -> None:
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x", "SLURM_NTASKS": "2", "SLURM_NODEID": "0"}
    job |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_STEP_ID": "0", **HOME}
    command = ["-W", "ignore", TRAIN, *LONG, *DDP, "requeue=true"]
    runs = tmp_path / "runs"

    def srun(act: Callable[..., None], *codes: int, **more: str) -> None:
        with ExitStack() as stack:
            tasks = [
                stack.enter_context(
                    started(
                        *command, cwd=tmp_path, SLURM_PROCID=rank, SLURM_LOCALID=rank, **job | more
                    )
                )
                for rank in "01"
            ]
            act(tasks)
            outputs = [task.communicate()[0] for task in tasks]
            assert [task.returncode for task in tasks] == list(codes), outputs

    def stop(tasks: list[object]) -> None:
        stopped_at(9, runs, tasks[0])
        tasks[1].send_signal(signal.SIGUSR1)  # type: ignore[attr-defined]

    srun(stop, 128 + signal.SIGUSR1, 0)  # rank 0, whom the others must not take along
    assert cluster.read_text() == "scontrol requeue 7\n"
    (run,) = runs.iterdir()
    assert 9 < step_of(run) < 48
    srun(lambda tasks: None, 0, 0, SLURM_RESTART_COUNT="1")
    assert list(runs.iterdir()) == [run]
    output_of(TRAIN, *LONG, *DDP, "run_dir=whole", cwd=tmp_path, **HOME)
    assert_same(run, tmp_path / "whole")


@pytest.mark.slow
def test_a_sweep_of_processes_saves_all_of_them_and_is_queued_again_once(
    tmp_path: Path, cluster: Path
) -> None:
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1,2", "sweep=x"]
    command = [TRAIN, "-m", *LONG, *joblib, "requeue=true"]
    slurm = {"SLURM_JOB_ID": "7", **HOME}
    sweep = tmp_path / "runs" / "x"
    with started(*command, cwd=tmp_path, **slurm) as process:
        while not (reached(sweep / "0", 3) and reached(sweep / "1", 3)):
            assert process.poll() is None, process.communicate()[0]
        process.send_signal(signal.SIGUSR2)
        output = process.communicate()[0]
        assert process.returncode == 128 + signal.SIGUSR2, output
    assert cluster.read_text() == "scontrol requeue 7\n"
    assert [RunFolder(sweep / n).read_result()["status"] for n in "01"] == ["interrupted"] * 2
    assert not (sweep / "2").exists()
    assert output.count("queueing SLURM job 7 again") == 1
    output_of(*command, cwd=tmp_path, **slurm, SLURM_RESTART_COUNT="1")
    assert [RunFolder(sweep / n).read_result()["status"] for n in "012"] == ["finished"] * 3


@pytest.mark.slow
def test_what_sbatch_is_given(tmp_path: Path, cluster: Path) -> None:
    script = cluster.parent / "script"
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text(f'#!/bin/sh\ncat "$1" > {script}\necho no such partition >&2\nexit 1\n')
    sbatch.chmod(0o755)
    args = [*SMALL, "hydra/launcher=slurm", "devices=2", "num_nodes=3", "seed=0,1", "sweep=x"]
    args += ["hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90"]
    output = output_of(TRAIN, "-m", *args, code=2, cwd=tmp_path, **HOME)
    given = set(re.findall(r"^#SBATCH --(\S+)$", script.read_text(), re.M))
    assert given >= {"nodes=3", "ntasks-per-node=2", "gpus-per-node=2", "cpus-per-task=4"}
    assert given >= {"signal=USR2@120", "requeue", "time=90", "partition=gpu", "open-mode=append"}
    assert "array=0-1%2" in given
    assert "no such partition" in output
    assert "Traceback" not in output


# --- torchrun -----------------------------------------------------------------------------------


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_torchrun_equals_processes_of_ours_and_goes_on_after_sigterm(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with started(*TORCHRUN, TRAIN, *LONG, *DDP, f"run_dir={run}", **HOME) as torchrun:
        while not reached(run, 9):
            assert torchrun.poll() is None, torchrun.communicate()[0]
        torchrun.send_signal(signal.SIGTERM)
        output = torchrun.communicate()[0]
    assert output.count("stopped by SIGTERM at step") == 1
    assert RunFolder(run).read_result()["status"] == "interrupted"
    assert 9 < step_of(run) < 48
    output_of(*TORCHRUN, TRAIN, f"resume={run}", **HOME)
    output_of(TRAIN, *LONG, *DDP, f"run_dir={tmp_path / 'whole'}", **HOME)
    assert_same(run, tmp_path / "whole")


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.xdist_group("processes")
def test_what_torchrun_starts_again_goes_on(tmp_path: Path) -> None:
    """A rank that dies once: torchrun starts all of them again, with the same command.

    Rank 0 comes late then, so that rank 1 would read where the dead one had listened.
    """
    (tmp_path / "mine.py").write_text(DIES_ONCE)
    own = ["+callbacks.mine._target_=mine.Dies"]
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [*TORCHRUN, "--max-restarts=1", TRAIN, *LONG, *DDP, *own]
    output = output_of(*command, cwd=tmp_path, **env)
    (run,) = (tmp_path / "runs").iterdir()
    assert f"was started again: {run} goes on" in output
    assert RunFolder(run).read_result()["status"] == "finished"
    output_of(TRAIN, *LONG, *DDP, "run_dir=whole", cwd=tmp_path, **env)
    assert_equal(state(run)["state_dict"], state(tmp_path / "whole")["state_dict"], "weights")


DIES_ONCE = """
import os, signal, time
from pytorch_lightning import Callback
first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
class Dies(Callback):
    def __init__(self):
        if not first and os.environ["RANK"] == "0":
            time.sleep(3)
    def on_train_batch_end(self, trainer, *args):
        if first and trainer.global_rank == 1 and trainer.global_step == 10:
            os.kill(os.getpid(), signal.SIGKILL)
"""


# --- submitit -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "devices", [[], pytest.param(DDP, marks=pytest.mark.ddp)], ids=["one", "two"]
)
def test_submitit_s_job_that_is_preempted_goes_on_in_its_folder(
    tmp_path: Path, devices: list[str]
) -> None:
    args = [*LONG, *devices, "hydra/launcher=submitit_local", "seed=0,1", "sweep=x"]
    sweep = tmp_path / "runs" / "x"
    with started(TRAIN, "-m", *args, cwd=tmp_path, **HOME) as process:
        while not reached(sweep / "0", 9):
            assert process.poll() is None, process.communicate()[0]
        job = int(json.loads((sweep / "0" / "lock.json").read_text())["pid"])
        os.kill(job, signal.SIGUSR2)  # as SLURM sends it
        output = process.communicate()[0]
        assert process.returncode == 0, output
    assert not any(ranks_of(job))
    (log,) = [text for text in map(Path.read_text, sweep.glob(".submitit/*/*.out"))
              if "this job is preempted" in text]  # fmt: skip
    assert log.count("Requeued job") == 1
    errors = "".join(map(Path.read_text, sweep.glob(".submitit/*/*.err")))
    assert len(re.findall(r"stopped by SIGUSR2 at step \d+\n", errors)) == 1
    assert "runs/x/0 is interrupted: it goes on" in errors
    assert sorted(p.name for p in sweep.iterdir() if p.is_dir()) == [".submitit", "0", "1"]
    output_of(TRAIN, *LONG, *devices, "seed=0", "run_dir=whole", cwd=tmp_path, **HOME)
    assert_same(sweep / "0", tmp_path / "whole")
    assert RunFolder(sweep / "1").read_result()["status"] == "finished"


@pytest.mark.slow
def test_who_waits_for_the_signal_gets_it_once_the_run_has_saved() -> None:
    def requeues(signum: int, frame: object) -> None:
        sys.exit(144)

    def refuses(signum: int, frame: object) -> None:
        raise RuntimeError("timed-out too many times")

    before = signal.getsignal(signal.SIGUSR2)
    stop = Stopped(signal.SIGUSR2)
    try:
        for nobody in (signal.SIG_DFL, signal.SIG_IGN, stop_here, lambda signum, frame: None):
            signal.signal(signal.SIGUSR2, nobody)
            hand_over(stop)
        signal.signal(signal.SIGUSR2, requeues)
        with pytest.raises(Stopped) as ended:
            hand_over(stop)
        assert ended.value.code == 144
        assert was_stopped(ended.value)
        again = pickle.loads(pickle.dumps(ended.value))
        assert (again.signum, again.code) == (signal.SIGUSR2, 144)
        signal.signal(signal.SIGUSR2, refuses)
        line = "^stopped by SIGUSR2, and not queued again: timed-out too many times$"
        with pytest.raises(NotRequeued, match=line) as refused:
            hand_over(stop)
        assert pickle.loads(pickle.dumps(refused.value)).kept
        hand_over(Stopped(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGUSR2, before)


NO_MORE = """
import sys
from submitit.core import utils
from submitit.local.local import LocalJobEnvironment
def _requeue(self, countdown):
    raise utils.UncompletedJobError("Job not requeued because: timed-out too many times.")
LocalJobEnvironment._requeue = _requeue
"""


@pytest.mark.slow
def test_a_job_that_submitit_does_not_queue_again_stays_interrupted(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NO_MORE)  # as where its time was up too often
    args = [*LONG, "hydra/launcher=submitit_local", "seed=0", "sweep=x"]
    run = tmp_path / "runs" / "x" / "0"
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    with started(TRAIN, "-m", *args, cwd=tmp_path, **env) as process:
        while not reached(run, 9):
            assert process.poll() is None, process.communicate()[0]
        os.kill(int(json.loads((run / "lock.json").read_text())["pid"]), signal.SIGUSR2)
        output = process.communicate()[0]
        assert process.returncode == 2, output
    assert "stopped by SIGUSR2, and not queued again: Job not requeued because" in output
    assert "Traceback" not in output
    assert RunFolder(run).read_result()["status"] == "interrupted"
    assert "0 is interrupted: it goes on" in output_of(
        TRAIN, "-m", *LONG, "seed=0", "sweep=x", cwd=tmp_path, **env
    )
