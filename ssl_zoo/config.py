"""Configs: their resolvers, as plain values, and as the parts that they name. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.knobs import check_types
from ssl_zoo.types import UserError

LR_RULES: dict[str, Callable[[float], float]] = {
    "none": lambda batch_size: 1.0,
    "linear": lambda batch_size: batch_size / 256,
    "sqrt": lambda batch_size: (batch_size / 256) ** 0.5,
}


def scaled_lr(base_lr: float, rule: str, batch_size: int) -> float:
    """Learning rate for a batch size, from one that is stated per 256 images.

    Raises:
        UserError: If the rule is unknown.
    """
    if not isinstance(base_lr, int | float):
        raise UserError(f"optimizer.base_lr={base_lr}: give a number")
    if rule not in LR_RULES:
        raise UserError(f"optimizer.lr_rule={rule} is unknown: use one of {', '.join(LR_RULES)}")
    return float(base_lr) * LR_RULES[rule](batch_size)


def run_folder(resume: str | None, new: str) -> str:
    """Where a run writes: in the folder that it resumes, else in a new one."""
    if not resume:
        return new
    folder = Path(resume).expanduser()
    if not folder.is_dir():
        raise UserError(f"resume={resume} does not exist: give a run folder")
    return str(folder)


def norm_splits(devices: int | str) -> int:
    """Parts of a batch with norms of their own in MoCo: those of eight devices, on one."""
    return 8 if devices == 1 else 1


def sweep_group() -> str | None:
    """In a multirun the name of the sweep's folder, which groups its runs; else None."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).name


def register_resolvers() -> None:
    """Make the configs' own resolvers known: those of this file and product."""
    OmegaConf.register_new_resolver("sweep_group", sweep_group, replace=True)
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver("scaled_lr", scaled_lr, replace=True)
    OmegaConf.register_new_resolver("norm_splits", norm_splits, replace=True)
    OmegaConf.register_new_resolver("product", lambda a, b: a * b, replace=True)


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dicts, lists and scalars.

    Raises:
        UserError: If a mandatory value is missing or an interpolation does not resolve.
    """
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    missing = [key for key, value in flatten(raw).items() if value == "???"]  # type: ignore[arg-type]
    if missing:
        raise UserError(f"{missing[0]} has no value: give {missing[0]}=... on the command line")
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(first_line(error)) from error
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Hydra's `instantiate`; a UserError in a part comes out unwrapped.

    Args:
        node: With a `_target_`.
        **kwargs: What it is called with besides.

    Raises:
        UserError: Also where a part refuses a knob (TypeError, ValueError), with its place.
    """
    if isinstance(node, DictConfig):
        check_types(OmegaConf.to_container(node, resolve=True), node._get_full_key(None))
    try:
        return hydra.utils.instantiate(node, **kwargs)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None and isinstance(error.__cause__, TypeError | ValueError):
            place = re.search(r"full_key: (\S+)", str(error))
            where = f"{place.group(1)}: " if place else ""
            cause = UserError(where + first_line(error.__cause__))
        raise (cause or error) from error.__cause__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    text = str(error).replace("UserError raised while resolving interpolation: ", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
