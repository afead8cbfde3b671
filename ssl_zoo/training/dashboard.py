"""What dashboards show of a run's config, also of one that goes on."""

from __future__ import annotations

from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import copies, copies_again, likeliest_options, options_by_group
from ssl_zoo.run_folder import RunFolder


class Dashboard(NamedTuple):
    """How a config is shown.

    Attributes:
        copies: Places that only repeat another.
        options: The options that its groups were chosen from, by group.
    """

    copies: list[str]
    options: dict[str, str]


def of_new(cfg: DictConfig) -> Dashboard:
    """Of a run that begins, from its config as composed."""
    return Dashboard(copies(cfg), options_by_group(cfg))


def of_resumed(folder: RunFolder, config: dict[str, Any], earlier: dict[str, Any]) -> Dashboard:
    """Of a run that goes on: as it began, if W&B's run was there; else as far as can be told."""
    known = folder.read_wandb()
    repeated = known.get("copies")
    if repeated is None:
        repeated = copies_again(earlier.get("overrides", []))
    options = known.get("options") or likeliest_options(OmegaConf.create(config))
    return Dashboard(repeated, options)
