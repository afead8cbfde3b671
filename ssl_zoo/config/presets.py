"""What `debug=` sets. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.build import flatten
from ssl_zoo.config.choices import CONFIG_DIR


def preset_line(cfg: DictConfig) -> str | None:
    """The chosen preset and the knobs that it sets, with their values now; None without one.

    Args:
        cfg: As composed from conf/train.yaml, by a command line.
    """
    if not HydraConfig.initialized():
        return None
    preset = HydraConfig.get().runtime.choices.get("debug")
    path = Path(CONFIG_DIR) / "debug" / f"{preset}.yaml"
    if preset is None or not path.is_file():
        return None if preset is None else f"debug={preset}"  # of a folder of the user's own
    values = {
        knob: OmegaConf.select(cfg, knob) for knob in flatten(yaml.safe_load(path.read_text()))
    }
    shown = [f"{knob}={yaml.safe_dump(value).splitlines()[0]}" for knob, value in values.items()]
    return f"debug={preset}: {' '.join(shown)}"
