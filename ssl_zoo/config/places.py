"""Where a data set lies: absolute, so that a saved config holds from any folder. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.build import flatten
from ssl_zoo.config.interpolations import references

_FOLDERS = ("root", "path", "dir", "folder")  # names of a data set's knobs, or their last word


def absolute(knob: str, value: Any) -> Any:
    """The value of a knob of a data set: absolute if it is a folder, unchanged otherwise.

    `~` in a cache's folder stays: the cache is each user's own.
    """
    name = knob.rpartition(".")[2]
    if name.split("_")[-1] not in _FOLDERS or not isinstance(value, str) or "://" in value:
        return value
    if not value or (name.startswith("cache") and value.startswith("~")):
        return value
    return str(Path(value).expanduser().absolute())


def with_absolute_places(cfg: DictConfig) -> DictConfig:
    """A copy of a composed config whose data set lies at absolute paths."""
    placed = cfg.copy()
    raw: Any = OmegaConf.to_container(placed.dataset, resolve=False)
    for name, written in flatten(raw).items():
        knob = f"dataset.{name}"
        if isinstance(written, str) and not references(written, knob):
            OmegaConf.update(placed, knob, absolute(knob, OmegaConf.select(placed, knob)))
    return placed
