"""The tasks that SLURM has started for a run, by its variables as SLURM 22.05 sets them."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from omegaconf import OmegaConf
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ssl_zoo.config import check_allocation
from ssl_zoo.training.tasks import check_tasks, cluster_plugins, meeting_again
from ssl_zoo.types import UserError

pytestmark = pytest.mark.slow

SCRIPT = {"ENVIRONMENT": "BATCH", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "0"}
SCRIPT |= {"SLURM_JOB_NAME": "x", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_ID": "7"}
SRUN = SCRIPT | {"SLURM_STEP_ID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
ONE = SRUN | {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1"}


@pytest.fixture(autouse=True)
def _no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("env", "devices", "nodes", "refused"),
    [
        ({}, 2, 1, ""),
        (SRUN, 2, 2, ""),
        (SRUN, 1, 1, "devices=1 num_nodes=1 are 1 processes, and SLURM has started 4 tasks on 2"),
        (SRUN, 4, 1, "on 2 nodes: sbatch --nodes=1 --ntasks-per-node=4, and srun before the"),
        (SRUN, "auto", 2, ""),  # which Lightning counts
        (ONE, 4, 1, ""),  # it starts them itself
        (ONE, 4, 2, "num_nodes=2 are 8 processes"),
        (SCRIPT, 4, 1, ""),  # without srun: one process
        (SCRIPT, 2, 2, "num_nodes=2 needs a process on each node: sbatch --nodes=2"),
        (SCRIPT | {"NODE_RANK": "1"}, 2, 2, ""),  # by hand
        (SRUN | TORCHRUN, 8, 1, ""),
        (SCRIPT | TORCHRUN, 8, 2, ""),
    ],
)
def test_tasks_are_the_run_s_processes(
    env: dict[str, str],
    devices: int | str,
    nodes: int,
    refused: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    cfg = OmegaConf.create({"devices": devices, "num_nodes": nodes})
    if not refused:
        return check_tasks(cfg)
    with pytest.raises(UserError) as error:
        check_tasks(cfg)
    assert refused in str(error.value)


@pytest.mark.parametrize(
    ("env", "kind"),
    [({}, "None"), (SRUN, "SLURM"), (ONE, "Lightning"), (SCRIPT, "Lightning"), (TORCHRUN, "None")],
)
def test_lightning_neither_queues_jobs_again_nor_waits_for_tasks_that_nobody_starts(
    env: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    plugins = cluster_plugins(None)
    names = [type(plugin).__name__ for plugin in plugins] if plugins else ["NoneEnvironment"]
    assert names == [f"{kind}Environment"]
    if kind == "SLURM":
        assert not plugins[0].auto_requeue
    assert cluster_plugins(["theirs"]) == ["theirs"]


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, ""),
        ({"devices": 4, "tasks_per_node": 1}, ""),  # which starts the four
        ({"devices": 4, "nodes": 2, "tasks_per_node": 4}, "nodes=2 hydra.launcher.tasks_per_node"),
        ({"devices": 4, "num_nodes": 2, "nodes": 2, "tasks_per_node": 1}, "are not num_nodes=2"),
        ({"devices": "auto"}, "devices=auto: give a number"),
        ({"task": ["devices=1,2"]}, "devices cannot be swept on SLURM"),
    ],
)
def test_the_tasks_of_submitit_are_the_run_s_processes(
    given: dict[str, object], refused: str
) -> None:
    launcher = {"_target_": "x.SlurmLauncher", "nodes": given.get("nodes", 1)}
    launcher["tasks_per_node"] = given.get("tasks_per_node", 1)
    hydra = {"launcher": launcher, "overrides": {"task": given.get("task", [])}}
    run = {"devices": given.get("devices", 1), "num_nodes": given.get("num_nodes", 1)}
    config = OmegaConf.create({**run, "hydra": hydra})
    if not refused:
        return check_allocation(config)
    with pytest.raises(UserError) as error:
        check_allocation(config)
    assert refused in str(error.value)


AGAIN = {"TORCHELASTIC_RESTART_COUNT": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
AGAIN |= {"GROUP_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}


def port_of(agents: TCPStore, stack: ExitStack, monkeypatch: pytest.MonkeyPatch, **env: str) -> int:
    """Where a rank meets the others."""
    for name, value in (AGAIN | {"MASTER_PORT": str(agents.port)} | env).items():
        monkeypatch.setenv(name, value)
    stack.enter_context(meeting_again())
    return int(os.environ["MASTER_PORT"])


def test_ranks_that_torchrun_has_started_again_meet_in_a_store_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agents = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    agents.set("address of rank 0", "dead")
    with ExitStack() as held:
        port = port_of(agents, held, monkeypatch, RANK="0")
        assert port != agents.port
        assert port_of(agents, held, monkeypatch, RANK="1") == port
        assert not TCPStore("127.0.0.1", port, is_master=False).check(["address of rank 0"])
        again = {"RANK": "0", "TORCHELASTIC_RESTART_COUNT": "2"}
        assert port_of(agents, held, monkeypatch, **again) not in (port, agents.port)


@pytest.mark.parametrize(
    "env",
    [
        {"TORCHELASTIC_RESTART_COUNT": "0"},
        {"TORCHELASTIC_USE_AGENT_STORE": "False"},  # torchrun makes one for each start
        {"GROUP_WORLD_SIZE": "2"},  # whose counts may differ
    ],
)
def test_other_ranks_meet_where_torchrun_says(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with ExitStack() as held:
        assert port_of(agents, held, monkeypatch, RANK="0", **env) == agents.port
