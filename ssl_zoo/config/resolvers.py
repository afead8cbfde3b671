"""The configs' own resolvers."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssl_zoo.config.groups import OF_OTHERS, all_groups, first_comment, options_of
from ssl_zoo.types import UserError

NO_FOLDER = "./"  # conf/train.yaml's hydra.run.dir: Hydra makes none

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


def run_name(*, _root_: Any) -> str:
    """The default name of a run, METHOD_DATASET.

    Of the options chosen; in a notebook, where no program of Hydra runs, of class and data set.
    """
    if HydraConfig.initialized():
        choices = HydraConfig.get().runtime.choices
        return f"{choices['method']}_{choices['dataset']}"
    method = str(_root_.method.module._target_).rpartition(".")[2]
    return f"{method.lower()}_{_root_.dataset.name}"


def hydra_folder() -> str | None:
    """The folder that Hydra made for this job: that of a sweep's job, or hydra.run.dir=FOLDER."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN and hydra.run.dir == NO_FOLDER:
        return None
    return str(hydra.runtime.output_dir)


def output_dir(name: str, dry_run: bool = False) -> str:
    """The run folder: Hydra's if it made one, else runs/TIME_NAME, which the run itself makes.

    A dry run, whose folder of Hydra is thrown away, names what it would be.
    """
    if not dry_run and (made := hydra_folder()):
        return made
    folder = f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S}_{name}"
    return os.path.abspath(folder) if HydraConfig.initialized() else folder


def sweep_dir(name: Any, time: str) -> str:
    """The folder of a multirun: runs/NAME by sweep=NAME, PATH by sweep=PATH, else a new one."""
    if name is None:
        return f"runs/sweep_{time}"
    return os.path.expanduser(name) if "/" in str(name) else f"runs/{name}"


def norm_splits(devices: int | str) -> int:
    """Parts of a batch with norms of their own in MoCo: those of eight devices, on one."""
    return 8 if devices == 1 else 1


def sweep_group() -> str | None:
    """In a multirun of train.py the sweep folder's name, which groups its runs; else None."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    if HydraConfig.get().job.config_name == "evaluate":  # its runs are grouped with what they score
        return None
    return Path(HydraConfig.get().sweep.dir).name


def options_with_comments(group: str) -> str:
    """A group's options, a line each, with the first comment in the option's file."""
    options = options_of(group)
    width = max(map(len, options)) + 3
    return "\n".join(f"{option:<{width}}{first_comment(group, option)}" for option in options)


def groups_with_options() -> str:
    """Our groups and the user's with their options, a line each; not Hydra's own."""
    groups = sorted(one for one in all_groups() if one.split("/")[0] not in ("hydra", *OF_OTHERS))
    listed = {group: ", ".join(sorted(options_of(group))) for group in groups}
    return "\n".join(f"{group}: {options}" for group, options in listed.items())


def register_resolvers() -> None:
    """Make the configs' own resolvers known: those of this file and product."""
    OmegaConf.register_new_resolver("options_with_comments", options_with_comments, replace=True)
    OmegaConf.register_new_resolver("groups_with_options", groups_with_options, replace=True)
    OmegaConf.register_new_resolver("sweep_group", sweep_group, replace=True)
    OmegaConf.register_new_resolver("sweep_dir", sweep_dir, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    # the time is that of the first look at it
    OmegaConf.register_new_resolver("output_dir", output_dir, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("scaled_lr", scaled_lr, replace=True)
    OmegaConf.register_new_resolver("norm_splits", norm_splits, replace=True)
    OmegaConf.register_new_resolver("product", lambda a, b: a * b, replace=True)
