"""What follows SIGUSR1 and SIGUSR2 on a cluster: a job that is queued again. Imports no torch.

The run has saved by then. SIGTERM asks for nothing more: SLURM sends it to a job that is cancelled,
and queues a preempted one again by itself.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ssl_zoo.config import task_overrides
from ssl_zoo.console import info
from ssl_zoo.launched import cluster_job, slurm_job
from ssl_zoo.run_folder import KEPT, RunFolder
from ssl_zoo.stopping import AHEAD, Stopped, stop_here
from ssl_zoo.training.sweep_job import Found
from ssl_zoo.types import UserError


class NotRequeued(UserError):
    """The job was stopped, and whoever started it does not queue it again."""

    kept = True  # result.json says `interrupted`, and shall


def say_stopped(line: str, signum: int, requeue: bool, say: Callable[[str], None]) -> None:
    """Say how a run or sweep was stopped, and queue its SLURM job again if the signal asks for it.

    SLURM then ends what is left of the job, maybe before scontrol has returned.

    Args:
        line: What to say.
        signum: The signal.
        requeue: Whether the user asks for it too.
        say: What says a line.
    """
    if not requeue or signum not in AHEAD:
        return say(line)
    if not (job := slurm_job()):
        return say(f"{line}; requeue=true: this is not a SLURM job, so nothing is queued again")
    say(f"{line}; queueing SLURM job {job} again")
    try:
        command = ["scontrol", "requeue", job]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        why = "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
    except OSError as error:
        why = str(error)
    if why:
        say(f"SLURM job {job} was not queued again: {why}")


def hand_over(stop: Stopped) -> None:
    """Leave the signal that stopped a job to whose it was before the job began, submitit.

    It queues the job again, as `hydra.launcher.max_num_timeout` allows, and ends the process; in
    tasks other than the first it does nothing.

    Raises:
        Stopped: With its exit code.
        NotRequeued: If it does not queue the job again.
    """
    handler = signal.getsignal(stop.signum)
    if stop.signum not in AHEAD or not callable(handler) or handler is stop_here:
        return
    try:
        handler(stop.signum, None)
    except SystemExit as end:
        raise Stopped(stop.signum, end.code) from end
    except Exception as error:
        raise NotRequeued(f"{stop}, and not queued again: {error}") from error


def found_after_restart(cfg: DictConfig) -> Found | None:
    """The run that this command wrote before its job was started again; None if there is none.

    A run is this command's by its job and its overrides. One that had saved nothing is trained in
    its folder: `run_dir` in `cfg` becomes that.

    Args:
        cfg: As composed for a run.
    """
    job = cluster_job()
    if not (job.name and job.restarts and HydraConfig.initialized()):
        return None
    if cfg.dry_run or cfg.trainer.fast_dev_run:
        return None
    place, overrides = Path(cfg.run_dir), task_overrides()
    beside = sorted(place.parent.iterdir()) if place.parent.is_dir() else []
    for path in (place, *beside):
        run = RunFolder(path)
        result = run.read_result()
        if (result.get("job"), result.get("overrides")) != (job.name, overrides):
            continue
        if result["status"] in KEPT:
            info(f"{job.name}: {run} is {result['status']}: kept")
            return Found(run, dict(result["metrics"]), [])
        if run.last.is_file():
            info(f"{job.name} was started again: {run} goes on")
            return Found(run, None, [])
        info(f"{job.name} was started again: {run} had saved nothing")
        cfg.run_dir = str(path)
        return None
    return None
