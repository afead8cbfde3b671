"""conf/train.yaml composed from code, wherever it runs. Imports no torch."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from ssl_zoo.config.groups import CONFIG_DIR


def composed(overrides: list[str]) -> DictConfig:
    """The config of a new run, unresolved; the Hydra that the caller may be in stays as it is."""
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            return compose("train", overrides)
    finally:
        GlobalHydra.instance().hydra = outer
