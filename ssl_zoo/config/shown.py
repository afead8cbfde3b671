"""What a dashboard shows of a config: each value once, and options to group by. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.config.build import flatten
from ssl_zoo.config.compose import composed
from ssl_zoo.config.groups import options_of, read_option
from ssl_zoo.config.interpolations import references
from ssl_zoo.types import UserError

GROUP_BY = ("method", "backbone", "dataset", "augmentation", "optimizer", "scheduler")
# One interpolation of another key and nothing else: ${key}, ${.key}, ${oc.select:key,default}
_COPY = re.compile(r"\$\{(?:\.*[A-Za-z_][\w.\-/]*|oc\.select:[^{},]+(?:,[^{}]*)?)\}")
_ABSENT = object()


def copies(cfg: DictConfig) -> list[str]:
    """The places of a composed config that only repeat another, such as `trainer.max_epochs`.

    What is computed from others, such as a scaled learning rate, is no copy.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    return [
        place
        for place, written in flatten(raw).items()
        if isinstance(written, str)
        and _COPY.fullmatch(written)
        and all(_is_there(cfg, source) for source in references(written, place))
    ]


def _is_there(cfg: DictConfig, key: str) -> bool:
    try:
        return OmegaConf.select(cfg, key, default=_ABSENT) is not _ABSENT
    except OmegaConfBaseException:
        return False


def copies_again(overrides: Iterable[str]) -> list[str]:
    """`copies` of a run that was composed from these overrides, as far as it can be composed."""
    with suppress(UserError, HydraException, OmegaConfBaseException):
        return copies(composed(overrides))
    return []


def shown(
    config: dict[str, Any], repeated: Iterable[str], options: Mapping[str, str]
) -> dict[str, Any]:
    """A resolved config flattened by dots, without what is repeated, and the options by group."""
    hidden = set(repeated)
    flat = {key: value for key, value in flatten(config).items() if not _below(key, hidden)}
    return {**options, **flat}


def _below(key: str, places: set[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:n]) in places for n in range(1, len(parts) + 1))


def options_by_group(cfg: DictConfig) -> dict[str, str]:
    """The options that a run's groups were chosen from, as Hydra has them if it started the run."""
    if HydraConfig.initialized():
        chosen = HydraConfig.get().runtime.choices
        return {group: str(chosen[group]) for group in GROUP_BY if group in chosen}
    return likeliest_options(cfg)


def likeliest_options(cfg: DictConfig) -> dict[str, str]:
    """The options whose files agree best with a config that was composed in Python, or saved."""
    found = {group: _likeliest(group, cfg.get(group)) for group in GROUP_BY}
    return {group: option for group, option in found.items() if option is not None}


def _likeliest(group: str, node: Any) -> str | None:
    if not isinstance(node, DictConfig):
        return None
    raw: Any = OmegaConf.to_container(node, resolve=False)
    flat = flatten(raw)

    def agreement(option: str) -> int:
        said = _literals(group, option)
        return sum(1 if flat.get(key, _ABSENT) == value else -1 for key, value in said.items())

    return max(options_of(group), key=agreement, default=None)


def _literals(group: str, option: str) -> dict[str, Any]:
    """What an option's file and those that it is based on say without interpolations."""
    tree = read_option(group, option)
    said: dict[str, Any] = {}
    for base in tree.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            said |= _literals(group, base)
    own = flatten(tree)
    said |= {k: v for k, v in own.items() if not (isinstance(v, str) and "${" in v)}
    return said
