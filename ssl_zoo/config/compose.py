"""A program's config composed from code, wherever it runs. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, open_dict

from ssl_zoo.config.groups import CONFIG_DIR, own_folders


def composed(
    overrides: Iterable[str] = (), program: str = "train", with_hydra: bool = False
) -> DictConfig:
    """Its config, unresolved, with the user's own options; a Hydra around it stays as it is."""
    folders = f"hydra.searchpath={json.dumps(own_folders)}"
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            return compose(program, [folders, *overrides], return_hydra_config=with_hydra)
    finally:
        GlobalHydra.instance().hydra = outer


def composed_with_options(overrides: Iterable[str]) -> tuple[DictConfig, dict[str, str]]:
    """As `composed` for train.py, and the option that each group was chosen from."""
    cfg = composed(overrides, "train", with_hydra=True)
    chosen = dict(cfg.hydra.runtime.choices)
    options = {str(group): str(option) for group, option in chosen.items() if option is not None}
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, {g: o for g, o in options.items() if not g.startswith("hydra/")}


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key of nested dicts, those of inner nodes too: "method", "method.loss" ..."""
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{key}"
        yield from dotted_keys(value, f"{prefix}{key}.")
