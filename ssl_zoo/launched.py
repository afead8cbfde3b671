"""Which process of a launcher this is, and when it ends. Imports no torch."""

from __future__ import annotations

import os
import sys
import threading

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


def end_with_launcher() -> None:
    """From now on this process ends when its launcher does, however that ends: its stdin closes."""
    os.environ.pop(CHILD, None)  # not for what this process starts in its turn
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
