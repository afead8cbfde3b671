"""The processes that SLURM or torchrun has started for a run, as Lightning shall see them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from omegaconf import DictConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ssl_zoo.types import UserError

_BY_HAND = ("bash", "interactive")  # jobs in which one types commands, as Lightning tells them


def slurm_tasks() -> int | None:
    """How many tasks srun has started for this run; None where this process was not one of them.

    A batch script has the variables of srun's first task, but is one process.
    """
    env = os.environ
    in_script = env.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in env
    if "SLURM_NTASKS" not in env or in_script or env.get("SLURM_JOB_NAME") in _BY_HAND:
        return None
    if dist.is_torchelastic_launched() or "RANK" in env:  # by torchrun, or by our launcher, inside
        return None
    return int(env["SLURM_NTASKS"])


def cluster_plugins(given: Any) -> Any:
    """The Trainer's plugins: what the user gave, else that of the tasks that srun has started.

    One task starts the processes of its devices itself, as without SLURM. Signals are ours:
    Lightning's own requeueing would save another checkpoint, and queue the job a second time.
    """
    if given is not None or "SLURM_NTASKS" not in os.environ or dist.is_torchelastic_launched():
        return given
    several = (slurm_tasks() or 1) > 1
    return [SLURMEnvironment(auto_requeue=False) if several else LightningEnvironment()]


def check_tasks(cfg: DictConfig) -> None:
    """Refuse devices that are not the tasks that SLURM has started: they would wait for ever.

    Raises:
        UserError: Naming both.
    """
    tasks, (devices, nodes) = slurm_tasks(), (cfg.devices, cfg.num_nodes)
    wanted = f"sbatch --nodes={nodes} --ntasks-per-node={devices}, and srun before the command"
    if tasks is None and "SLURM_NTASKS" in os.environ and "RANK" not in os.environ and nodes > 1:
        if "NODE_RANK" not in os.environ:
            raise UserError(f"num_nodes={nodes} needs a process on each node: {wanted}")
        return
    alone = tasks == 1 and nodes == 1  # it starts the processes of its devices itself
    if tasks is None or alone or not isinstance(devices, int):
        return
    there = int(os.environ.get("SLURM_NNODES", nodes))
    if (there, tasks) != (nodes, devices * nodes):
        raise UserError(
            f"devices={devices} num_nodes={nodes} are {devices * nodes} processes, and SLURM has "
            f"started {tasks} tasks on {there} {'node' if there == 1 else 'nodes'}: {wanted}"
        )


@contextmanager
def meeting_again() -> Iterator[None]:
    """Let ranks that torchrun has started again meet in a new store instead of its agent's.

    The agent keeps one store for all starts, in which a rank may still find the address of a
    process that is dead (pytorch issue 135712). Each machine counts its own restarts, so several
    machines have no name in common for a new store: there torchrun itself must make one. Rank 0
    holds the store until it has ended.
    """
    env = os.environ
    restarts = env.get("TORCHELASTIC_RESTART_COUNT", "0")
    is_shared = env.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if restarts == "0" or not is_shared or env.get("GROUP_WORLD_SIZE") != "1":
        yield
        return
    agents = TCPStore(env["MASTER_ADDR"], int(env["MASTER_PORT"]), is_master=False)
    key = f"ssl_zoo/port/{restarts}"
    if env["RANK"] == "0":
        own = TCPStore(env["MASTER_ADDR"], 0, is_master=True, wait_for_workers=False)
        agents.set(key, str(own.port))
    env["MASTER_PORT"] = agents.get(key).decode()
    yield
