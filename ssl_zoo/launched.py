"""Which process of a launcher this is, before the processes connect. Imports no torch."""

from __future__ import annotations

import os

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
