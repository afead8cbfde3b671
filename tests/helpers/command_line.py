"""The config of a program that was started with overrides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from ssl_zoo.config import CONFIG_DIR, register_resolvers


@contextmanager
def command_line(config_name: str, *overrides: str) -> Iterator[DictConfig]:
    """The config that Hydra hands to a program started with these overrides, of which it knows."""
    register_resolvers()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        started = [
            "hydra.mode=RUN",
            "hydra.runtime.output_dir=nowhere",
        ]  # by its main
        cfg = compose(config_name, [*started, *overrides], return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    try:
        yield cfg
    finally:
        HydraConfig.instance().cfg = None
