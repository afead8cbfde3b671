"""What `debug=` sets. Imports no torch."""

from __future__ import annotations

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.build import flatten
from ssl_zoo.config.groups import read_option


def preset_line(cfg: DictConfig) -> str | None:
    """The chosen preset and the knobs that it sets, with their values now; None without one.

    Args:
        cfg: As composed from conf/train.yaml, by a command line.
    """
    if not HydraConfig.initialized():
        return None
    preset = HydraConfig.get().runtime.choices.get("debug")
    if preset is None:
        return None
    knobs = flatten(read_option("debug", preset))
    values = {knob: OmegaConf.select(cfg, knob) for knob in knobs}
    shown = [f"{knob}={yaml.safe_dump(value).splitlines()[0]}" for knob, value in values.items()]
    return f"debug={preset}: {' '.join(shown)}"
