"""Score a backbone: `python evaluate.py ckpt=RUN protocol=linear`; see `--help`."""

from __future__ import annotations

from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config import (
    CONFIG_DIR,
    EVALUATE_ROOTS,
    check_counts,
    check_overrides,
    fail,
    naming_knobs,
    register_resolvers,
    run_cli,
    task_overrides,
    to_plain,
)
from ssl_zoo.types import UserError

register_resolvers()


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Run the protocols and return by name what each writes to RUN/evaluation/<protocol>.json.

    Args:
        cfg: As composed from conf/evaluate.yaml.
    """
    from ssl_zoo.protocols.runner.run import run  # torch comes in here

    with naming_knobs(cfg, task_overrides()):
        return run(cfg)


@hydra.main(version_base="1.3", config_path=CONFIG_DIR, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Evaluate a checkpoint."""
    try:
        check_overrides(cfg, task_overrides(), HydraConfig.get().runtime.choices, EVALUATE_ROOTS)
        to_plain(cfg)  # a missing value is told before torch comes in
        check_counts(cfg, ["batch_size"])
        if not isinstance(cfg.baselines, bool):
            raise UserError(f"baselines={cfg.baselines}: give true or false")
        evaluate(cfg)
    except (UserError, OmegaConfBaseException) as error:
        fail(error)


def command() -> None:
    """The command line; bad input ends in one line on stderr and exit code 2."""
    run_cli(main, "evaluate")


if __name__ == "__main__":
    command()
