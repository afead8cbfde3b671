"""Score a backbone: `python evaluate.py ckpt=RUN protocol=linear`; see `--help`."""

from __future__ import annotations

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":  # before the imports that take half a second
    end_quietly()

import logging
import os
from collections.abc import Iterable
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config import (
    CONFIG_DIR,
    EVALUATE_ROOTS,
    check_counts,
    check_overrides,
    check_program,
    fail,
    naming_knobs,
    register_resolvers,
    run_cli,
    task_overrides,
    to_plain,
    trusting,
)
from ssl_zoo.launched import CHILD, end_with_launcher
from ssl_zoo.types import UserError

register_resolvers()


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Run the protocols; return what each writes to RUN/evaluation/<protocol>.json, by name.

    Args:
        cfg: As composed from conf/evaluate.yaml.
    """
    check_program(cfg, "evaluate")
    logging.getLogger("ssl_zoo").info(_start_line(cfg))
    from ssl_zoo.cores import shared_cores
    from ssl_zoo.protocols.runner.run import run  # torch is imported here

    with trusting(cfg.trust), naming_knobs(cfg, task_overrides()), shared_cores():
        return run(cfg)


def _start_line(cfg: DictConfig) -> str:
    """What is scored, by what and on what, before torch is imported."""
    ckpts = [cfg.ckpt] if isinstance(cfg.ckpt, str) else list(cfg.ckpt or [])
    # conf/dataset/saved.yaml has no name of its own
    name = "its own data" if "otherwise" in cfg.dataset else cfg.dataset.get("name")
    protocols = ", ".join(cfg.get("protocol") or [])
    return f"{', '.join(map(str, ckpts))} by {protocols} on {name}"


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate a checkpoint."""
    try:
        overrides = task_overrides()
        check_overrides(cfg, overrides, HydraConfig.get().runtime.choices, EVALUATE_ROOTS)
        to_plain(cfg)  # a missing value is reported before torch is imported
        check_counts(cfg, ["batch_size"])
        if not isinstance(cfg.baselines, bool):
            raise UserError(f"baselines={cfg.baselines}: give true or false")
        _check_brought(cfg, overrides)
        evaluate(cfg)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        fail(error)


def _check_brought(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Refuse overrides of what a checkpoint brings itself: nothing would read them.

    Raises:
        UserError: Naming the override.
    """
    if cfg.ckpt in ("random", ["random"]):
        return
    own_data = "otherwise" in cfg.dataset  # conf/dataset/saved.yaml
    groups = ["backbone", "augmentation", "data"] if own_data else ["backbone"]
    for override in overrides:
        key = override.lstrip("+~").split("=")[0]
        if key.split(".")[0] in groups:
            raise UserError(f"{override}: ckpt={cfg.ckpt} brings its own, remove it")


def command() -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    if CHILD in os.environ:
        end_with_launcher()
    run_cli(main, "evaluate")


if __name__ == "__main__":
    command()
