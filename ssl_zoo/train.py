"""Pretrain a backbone: `python train.py method=simclr dataset=cifar10 ...`; see `--help`."""

from __future__ import annotations

import os
import shlex
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config import (
    CONFIG_DIR,
    TRAIN_ROOTS,
    check_dataset,
    check_knobs,
    check_overrides,
    fail,
    register_resolvers,
    remove_if_empty,
    run_cli,
    task_overrides,
    to_plain,
    trusting,
)
from ssl_zoo.metric_names import objective_of
from ssl_zoo.training.facts import say_start
from ssl_zoo.types import UserError

register_resolvers()


def train(cfg: DictConfig) -> dict[str, float]:
    """Train one run and return its last metrics.

    Args:
        cfg: As composed from conf/train.yaml.

    Raises:
        UserError: If the config or the data is bad.
    """
    check_dataset(cfg)
    to_plain(cfg)  # a missing value is reported before torch is imported
    check_knobs(cfg)
    say_start(cfg)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch on a CPU: huge pages, fewer faults
    from ssl_zoo.training.run import run  # imports torch, once the command line is parsed

    with trusting(cfg.trust):
        return run(cfg)


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train one run; what sweepers see is the first objective of `metric_names` that is logged."""
    multirun = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        check_overrides(cfg, task_overrides(), HydraConfig.get().runtime.choices, TRAIN_ROOTS)
        if multirun and (cfg.devices != 1 or cfg.num_nodes != 1):
            command = shlex.join(["python", "train.py", *task_overrides()])
            raise UserError(
                f"devices={cfg.devices} num_nodes={cfg.num_nodes} in a multirun start the sweep "
                f"again in every process: run each job by itself, as in: {command}"
            )
        metrics = train(cfg)
        if not multirun:
            remove_if_empty(HydraConfig.get().runtime.output_dir)  # where run_dir= is elsewhere
        objective = objective_of(metrics)
        return None if objective is None else metrics[objective.name]
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if not multirun:
            remove_if_empty(HydraConfig.get().runtime.output_dir)
            fail(error)
        print(f"error: job {HydraConfig.get().job.num}: {error}", file=sys.stderr)
        raise  # Hydra goes on with the other jobs


def command() -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    run_cli(main, "train")


if __name__ == "__main__":
    command()
