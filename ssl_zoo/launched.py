"""Which process of a launcher this is, of which job, and when it ends. Imports no torch."""

from __future__ import annotations

import os
import sys
import threading
from typing import NamedTuple

CHILD = "SSL_ZOO_CHILD"  # is set for a process that ends when the one that started it does
# torchrun, SLURM, LSF, Open MPI, other MPIs: the number among all processes of a run
_AMONG_ALL = (
    *("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"),
    *("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"),
)


def is_rank_zero() -> bool:
    """Whether this process is the one that writes: rank 0, or a run's only process.

    A child that Lightning starts has LOCAL_RANK, which goes before what its parent's launcher set;
    by hand one process is started on each node, with NODE_RANK.
    """
    env = os.environ
    if "RANK" not in env and "LOCAL_RANK" in env:
        return env["LOCAL_RANK"] == "0" and env.get("NODE_RANK", "0") == "0"
    numbers = [env[name] for name in _AMONG_ALL if name in env]
    return (numbers or [env.get("NODE_RANK", "0")])[0] == "0"


class ClusterJob(NamedTuple):
    """A job that may be started again: of SLURM, or of torchrun.

    Attributes:
        name: The same in all its processes, and after each restart; "" where it is no such job.
        restarts: How often it was started again; it only grows.
    """

    name: str
    restarts: int


def cluster_job() -> ClusterJob:
    """The job that this process is of; torchrun's where it has an id of its own."""
    env = os.environ
    restarts = 1000 * _count("SLURM_RESTART_COUNT") + _count("TORCHELASTIC_RESTART_COUNT")
    if number := slurm_job():
        return ClusterJob(f"slurm {number}", restarts)
    run = env.get("TORCHELASTIC_RUN_ID", "none")
    return ClusterJob("" if run == "none" else f"torchrun {run}", restarts)


def slurm_job() -> str:
    """The SLURM job as scontrol takes it; "" where there is none.

    The number of one task of an array is that of the whole array, so that a task has two numbers.
    """
    env = os.environ
    if "SLURM_ARRAY_JOB_ID" in env and "SLURM_ARRAY_TASK_ID" in env:
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    return env.get("SLURM_JOB_ID", "")


def _count(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


def end_with_launcher() -> None:
    """From now on this process ends when its launcher does, however that ends: its stdin closes."""
    os.environ.pop(CHILD, None)  # not for what this process starts in its turn
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
