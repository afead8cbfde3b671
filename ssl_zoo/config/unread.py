"""Keys that were set on the command line and that nothing reads."""

from __future__ import annotations

from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.choices import groups_of
from ssl_zoo.config.groups import options_of, read_option
from ssl_zoo.config.interpolations import references, select
from ssl_zoo.types import UserError

# What train.py and evaluate.py instantiate or read by name; all else must be reached from there.
TRAIN_ROOTS = (
    *("data", "method.module", "callbacks", "logger", "trainer", "monitor.bank_size"),
    *("seed", "batch_size", "compile", "name", "resume", "init", "trust", "sweep", "objective"),
    *("save_every_n_minutes", "requeue", "run_dir", "dry_run"),
    *("ckpt_prefix", "ckpt_heads", "ckpt_layout"),  # beside init
)


EVALUATE_ROOTS = (
    *("data", "protocol", "dataset", "backbone", "augmentation", "logger"),
    *("ckpt", "features", "seed", "batch_size", "precision", "baselines", "out"),
    *("trust", "run_dir"),
    *("ckpt_prefix", "ckpt_heads", "ckpt_layout"),
)


def unread_overrides(cfg: DictConfig, keys: Iterable[str], roots: Iterable[str]) -> list[str]:
    """The overridden keys that no instantiated part reads.

    `roots` are instantiated, or read by name; from there the interpolations are followed.

    Args:
        cfg: The composed, unresolved config.
        keys: Dotted keys, as overridden on the command line.
        roots: Dotted keys of what the program itself reads.
    """
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    read: set[str] = set()
    todo = list(roots)
    while todo:
        path = todo.pop()
        if path in read:
            continue
        read.add(path)
        node = select(raw, path)
        if isinstance(node, dict):
            todo += [f"{path}.{key}" for key in node]
        elif isinstance(node, list):
            todo += [f"{path}.{i}" for i in range(len(node))]
        else:
            todo += references(node, path)
    return [key for key in keys if not any(_covers(path, key) for path in read)]


def _covers(path: str, key: str) -> bool:
    return path == key or path.startswith(f"{key}.")


def overridden_keys(overrides: Iterable[str]) -> list[str]:
    """The dotted keys of overrides that set values: no group choices, no deletions."""
    keys = [o.split("=", 1)[0].lstrip("+") for o in overrides if "=" in o and o[0] != "~"]
    return [key for key in keys if "/" not in key and "@" not in key]


def task_overrides() -> list[str]:
    """The overrides of this job's command line; none where there is no command line."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def chosen_names() -> dict[str, str]:
    """The option of each config group that this job chose; none where there is no command line."""
    if not HydraConfig.initialized():
        return {}
    chosen = HydraConfig.get().runtime.choices.items()
    return {
        str(group): str(option)
        for group, option in chosen
        if option is not None and not str(group).startswith("hydra/")
    }


def check_program(cfg: DictConfig, program: str) -> None:
    """Refuse a config of another program, and a key of its top level that nothing reads.

    Args:
        cfg: As composed, by a command line or in Python.
        program: "train" or "evaluate".

    Raises:
        UserError: Naming the program or the key.
    """
    needed, roots = {
        "train": ("method", TRAIN_ROOTS),
        "evaluate": ("ckpt", EVALUATE_ROOTS),
    }[program]
    known = {*read_option("", program), *groups_of(program)}
    known |= {key for preset in options_of("debug") for key in read_option("debug", preset)}
    if needed not in list(cfg):  # `in` overlooks a ???
        raise UserError(
            f"the config has no {needed}: compose it with hydra.compose({program!r}, overrides)"
        )
    check_overrides(cfg, [f"{key!s}=" for key in cfg if key not in known], [], roots)


def check_overrides(
    cfg: DictConfig, overrides: Iterable[str], choices: Iterable[str], roots: Iterable[str]
) -> None:
    """Refuse an override that nothing reads; see `unread_overrides`.

    Raises:
        UserError: Naming the knobs.
    """
    groups = set(choices)
    keys = [key for key in overridden_keys(overrides) if key not in groups]
    unread = unread_overrides(cfg, keys, roots)
    if unread:
        raise UserError(
            f"{', '.join(unread)} was set, but no chosen part reads it: "
            "remove the override, or choose the option that it belongs to"
        )
