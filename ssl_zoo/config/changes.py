"""What a run that goes on may change of its config, and what depends on it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.build import flatten, to_plain
from ssl_zoo.config.compose import composed
from ssl_zoo.config.interpolations import overlap, references
from ssl_zoo.config.places import absolute
from ssl_zoo.config.values import check_changeable, check_types
from ssl_zoo.types import UserError, as_typed

# What is of the place and the machine, with all that is below it; and how long the run is.
CHANGEABLE = (
    *("epochs", "devices", "dataset.root", "dataset.cache_dir", "dataset.num_workers", "logger"),
    *("save_every_n_minutes", "requeue", "trainer.profiler", "trainer.detect_anomaly"),
)
_WIRED = ("epochs", "devices", "dataset.root", "dataset.cache_dir", "dataset.num_workers")
_SHOWN = 6  # knobs listed in a line


def check_changes(changes: Iterable[str]) -> None:
    """Refuse an override of what makes a run what it is.

    Raises:
        UserError: Naming it, and what may change.
    """
    refused = [change for change in changes if not changeable(change.partition("=")[0].lstrip("+"))]
    if refused:
        raise UserError(
            f"resume continues with the run's own config: remove {', '.join(refused)}; what may "
            f"change is {', '.join(CHANGEABLE)}"
        )


def changeable(key: str) -> bool:
    """Whether a run that goes on may change this knob."""
    return key in CHANGEABLE or key.startswith("logger.")


def wiring_of(cfg: DictConfig) -> dict[str, str]:
    """The places of a composed config whose values depend on what may change, as written there.

    Saved with a run: its config is resolved, and shows no more that `trainer.max_epochs` is
    `${epochs}`.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    written = {key: value for key, value in flatten(raw).items() if isinstance(value, str)}
    return dependent(written, CHANGEABLE)


def dependent(written: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """The places that depend on any of these keys, directly or through others."""
    sources = list(keys)
    found: dict[str, str] = {}
    while True:
        new = {
            place: text
            for place, text in written.items()
            if place not in found
            and any(overlap(read, s) for read in references(text, place) for s in sources)
        }
        if not new:
            return found
        found |= new
        sources += new


def changed_config(
    config: dict[str, Any], changes: Iterable[str], wiring: Mapping[str, str] | None
) -> dict[str, Any]:
    """A run's config, resolved, with changes and what depends on them.

    Args:
        config: As saved.
        changes: Overrides that `check_changes` allows.
        wiring: As saved, see `wiring_of`; None where an earlier version saved none.

    Raises:
        UserError: If the run does not have the knob, or a value makes no sense.
    """
    overrides = OverridesParser.create().parse_overrides(list(changes))
    if not overrides:
        return config
    cfg = OmegaConf.create(config)
    knobs = [o for o in overrides if o.key_or_group.split(".")[0] != "logger"]
    for override in knobs:
        key = override.key_or_group
        _check_knob(cfg, override, wiring)
        OmegaConf.update(cfg, key, absolute(key, override.value()))
    for place, text in dependent(wiring or {}, [o.key_or_group for o in knobs]).items():
        norms = _equal_norms(config, place, cfg.devices) if "{norm_splits:" in text else None
        OmegaConf.update(cfg, place, norms or text, merge=False)
    if loggers := [override for override in overrides if override not in knobs]:
        OmegaConf.update(cfg, "logger", _loggers(config, loggers), merge=False, force_add=True)
    check_changeable(cfg)
    plain = to_plain(cfg)
    check_types(plain["trainer"], "trainer")
    return plain


def _check_knob(cfg: DictConfig, override: Override, wiring: Mapping[str, str] | None) -> None:
    """Refuse a knob that the run does not have, or whose value nothing reads."""
    key, typed = override.key_or_group, override.input_line
    if override.is_sweep_override():
        raise UserError(f"{typed}: a run that goes on takes one value")
    if OmegaConf.select(cfg, key, default=typed) is typed:
        raise UserError(f"{typed}: {key} is not a knob of this run's {key.split('.')[0]}")
    if key not in _WIRED:
        return
    if wiring is None:
        raise UserError(
            f"{typed}: this run is of an earlier version, which did not save what depends on "
            f"{key}: it goes on only without it"
        )
    if not dependent(wiring, [key]):
        raise UserError(f"{typed}: no part of this run reads it: remove it")


def _loggers(config: dict[str, Any], overrides: list[Override]) -> Any:
    """The run's loggers with overrides, not resolved."""
    typed = [str(override.input_line) for override in overrides]
    if any(override.key_or_group == "logger" for override in overrides):
        chosen: Any = OmegaConf.to_container(composed(typed).logger, resolve=False)
        return chosen
    loggers = OmegaConf.create({"logger": config.get("logger") or {}})
    for override in overrides:
        key, line = override.key_or_group, override.input_line
        there = OmegaConf.select(loggers, key, default=line) is not line
        name = key.split(".")[1]
        if not there and not override.is_add():
            has = name in loggers.logger
            fix = "it has no such key" if has else f"it has no {name}: add logger={name}"
            raise UserError(f"{line} is for the run's own loggers: {fix}")
        OmegaConf.update(loggers, key, override.value(), force_add=True)
    plain: Any = OmegaConf.to_container(loggers.logger)
    return plain


def _equal_norms(config: dict[str, Any], place: str, devices: Any) -> int | None:
    """The parts of a device's batch with norms of their own, as many in all as before."""
    cfg = OmegaConf.create(config)
    before, parts = cfg.devices, OmegaConf.select(cfg, place)
    if not all(isinstance(number, int) for number in (before, parts, devices)):
        return None
    return max(1, int(parts * before // devices))


def differing(
    old: dict[str, Any], new: dict[str, Any], wiring: Mapping[str, str]
) -> dict[str, tuple[Any, Any]]:
    """The knobs whose values differ, each with its old and its new one; loggers as one.

    Args:
        old: Resolved.
        new: Resolved.
        wiring: Places that only repeat a knob, see `wiring_of`.
    """
    before, after = (flatten(_by_name(config)) for config in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    repeated = dependent(wiring, [key for key in keys if changeable(key)])
    knobs = [k for k in keys if not any(overlap(k, place) for place in repeated)]
    return {key: (before.get(key), after.get(key)) for key in knobs}


def differences(old: dict[str, Any], new: dict[str, Any], wiring: Mapping[str, str]) -> list[str]:
    """`differing` in words, as in "epochs=6 (was 3)"."""
    return in_words(differing(old, new, wiring))


def in_words(knobs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Knobs with their old and new values, the first few, and how many more there are."""
    said = [f"{key}={as_typed(new)} (was {as_typed(old)})" for key, (old, new) in knobs.items()]
    return said[:_SHOWN] + ([f"{len(said) - _SHOWN} more"] if len(said) > _SHOWN else [])


def _by_name(config: dict[str, Any]) -> dict[str, Any]:
    return config | {"logger": sorted(config.get("logger") or {}) or ["csv"]}


def unread_of(cfg: DictConfig) -> list[str]:
    """The knobs of a config composed from Python that differ from those of conf/train.yaml."""
    default = composed()
    ours, theirs = (_flat(config) for config in (cfg, default))
    aside = ("resume", "trust", "run_dir")
    return [
        key
        for key, text in ours.items()
        if key not in aside
        and text != theirs.get(key)
        and OmegaConf.select(cfg, key) != OmegaConf.select(default, key)
        and not (isinstance(text, str) and references(text, key))
    ]


def _flat(cfg: DictConfig) -> dict[str, Any]:
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    return flatten(raw)
