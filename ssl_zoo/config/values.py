"""Values of the right kind."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config.groups import read_option
from ssl_zoo.config.knob_names import ErrorAt
from ssl_zoo.config.locate import locate
from ssl_zoo.config.words import check_trainer
from ssl_zoo.types import UserError, as_typed

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
COUNTS = (
    *("epochs", "batch_size", "accumulate", "num_nodes", "log_every_n_steps"),
    *("monitor.every_n_epochs", "monitor.k"),
)
_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "None": "null"}
_SHOWN = _KINDS | {"str": "a text"}


def check_counts(cfg: DictConfig, names: Iterable[str]) -> None:
    """Refuse a count below 1, and an invalid seed.

    Raises:
        UserError: Naming the knob.
    """
    for name in names:
        value = OmegaConf.select(cfg, name)
        if not _is_a(value, "int") or value < 1:
            raise UserError(f"{name}={value}: give a whole number of at least 1")
    if not _is_a(cfg.seed, "int") or not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: give a whole number from 0 to {2**32 - 1}")


def check_dataset(cfg: DictConfig) -> None:
    """Refuse a data set whose file lacks what every data set has.

    Raises:
        UserError: Naming the line to add.
    """
    lacking = [
        key for key in read_option("dataset", "base") if key not in cfg.dataset and key != "name"
    ]
    if lacking:
        raise UserError(
            f"dataset.{lacking[0]} is missing: begin the data set's YAML with the line "
            "`defaults: [base, _self_]`"
        )


def _check_root(cfg: DictConfig) -> None:
    if "root" in cfg.dataset and cfg.dataset.root is None:
        raise UserError("dataset.root=null: give the folder of the data set")


def check_knobs(cfg: DictConfig) -> None:
    """Refuse run-wide knobs that make no sense, before anything is built.

    Raises:
        UserError: Naming the knob.
    """
    if cfg.dataset.get("name") == "saved":
        raise UserError(
            "dataset=saved is for evaluate.py, whose checkpoint has a data set: give another"
        )
    check_counts(cfg, COUNTS)
    _check_root(cfg)
    if cfg.monitor.bank_size is not None and not _is_above_0(cfg.monitor.bank_size):
        raise UserError(
            f"monitor.bank_size={cfg.monitor.bank_size}: give a number above 0, or null"
        )
    if not _is_above_0(cfg.monitor.temperature):
        raise UserError(f"monitor.temperature={cfg.monitor.temperature}: give a number above 0")
    check_changeable(cfg)
    for name in ("compile", "sync_batchnorm", "dry_run"):
        if not isinstance(cfg[name], bool):
            raise UserError(f"{name}={cfg[name]}: give true or false")
    for name in ("optimizer.base_lr", "optimizer.lr"):
        rate = OmegaConf.select(
            cfg, name, default=0.0
        )  # a user's own optimizer may name it otherwise
        if not _is_a(rate, "float"):
            raise UserError(f"{name}={rate}: give a number")
    check_trainer(cfg)
    for name in ("resume", "init"):
        if not isinstance(cfg[name], str | None):
            raise UserError(f"{name}={cfg[name]}: give a path or a name, or null")
    objective = cfg.get("objective")
    if not isinstance(objective, str | None) or objective == "":
        raise UserError(f"objective={objective}: give the name of a logged metric, or null")
    if "/" in str(cfg.name):
        raise UserError(f"name={cfg.name} must not hold a slash: it names a folder")
    if str(cfg.precision) not in PRECISIONS:
        raise UserError(f"precision={cfg.precision} is unknown: use one of {', '.join(PRECISIONS)}")
    if cfg.clip_norm is not None and not _is_above_0(cfg.clip_norm):
        raise UserError(f"clip_norm={cfg.clip_norm}: give a number above 0, or null")


def check_changeable(cfg: DictConfig) -> None:
    """Refuse values of the knobs that a run may change when it goes on.

    Raises:
        UserError: Naming the knob.
    """
    check_counts(cfg, ["epochs"])
    if not _is_above_0(cfg.save_every_n_minutes):
        raise UserError(f"save_every_n_minutes={cfg.save_every_n_minutes}: give a number above 0")
    if not isinstance(cfg.get("requeue", False), bool):
        raise UserError(f"requeue={cfg.requeue}: give true or false")
    if cfg.devices != "auto" and not (_is_a(cfg.devices, "int") and cfg.devices >= 1):
        raise UserError(f"devices={cfg.devices}: give a whole number of at least 1, or auto")
    if not _is_a(cfg.dataset.num_workers, "int") or cfg.dataset.num_workers < 0:
        raise UserError(f"dataset.num_workers={cfg.dataset.num_workers}: give 0 or more")


def _is_above_0(value: Any) -> bool:
    return _is_a(value, "float") and value > 0


def check_types(node: Any, place: str) -> None:
    """Refuse values of a type that a part's signature does not allow: ours, Lightning's, Optuna's.

    Args:
        node: Resolved; dicts with a `_target_` are looked at.
        place: Its dotted key.

    Raises:
        ErrorAt: With the place of the value, and what to give; also of a target that does not
            import.
    """
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    target = str(node.get("_target_", ""))
    parameters = _parameters(target, place) if target else {}
    for key, value in node.items():
        at = f"{place}.{key}" if place else str(key)
        check_types(value, at)
        if (parameter := parameters.get(key)) is None:
            continue
        if value is None and parameter.default is parameter.empty and node.get("_partial_"):
            continue  # the caller of the factory gives it
        kinds = _names(parameter.annotation)
        known = all(kind in _KINDS or kind.startswith("'") for kind in kinds)
        # a number or a flag is no object of a class, such as a profiler
        known = known or (
            target.startswith("pytorch_lightning.") and isinstance(value, int | float)
        )
        if known and not any(_is_a(value, kind) for kind in kinds):
            shown = [kind for kind in kinds if kind != "int" or "float" not in kinds]
            allowed = " or ".join(_SHOWN.get(kind, kind.strip("'")) for kind in shown)
            raise ErrorAt(at, f"={as_typed(value)}: give {allowed}")


def _parameters(target: str, place: str) -> Mapping[Any, inspect.Parameter]:
    """The arguments of what is called, if their types count: of parts of ours and of libraries."""
    try:
        called = locate(target)
    except UserError as error:
        raise ErrorAt(f"{place}._target_", f"={error}") from error
    if target.split(".")[0] not in ("ssl_zoo", "pytorch_lightning", "optuna"):
        return {}
    return inspect.signature(called).parameters


def _names(annotation: Any) -> list[str]:
    """The types that an annotation allows, postponed ("int | None") or not; a Literal's texts."""
    if isinstance(annotation, str):
        return annotation.split(" | ")
    origin, kinds = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return [repr(kind) for kind in kinds]
    if origin is typing.Union:
        return [name for kind in kinds for name in _names(kind)]
    return [getattr(annotation, "__name__", str(annotation)).replace("NoneType", "None")]


def _is_a(value: Any, kind: str) -> bool:
    if kind == "None":
        return value is None
    if kind not in _KINDS:  # of a Literal, or a class
        return repr(value) == kind
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, int if kind == "int" else int | float)
