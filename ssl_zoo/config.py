"""The command line: resolvers, the check for unread knobs, nearest names. Imports no torch."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hydra.utils
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_zoo.choices import (
    CONFIG_DIR,
    check_choices,
    chosen_method,
    chosen_options,
    options_of,
    slots_of,
)
from ssl_zoo.types import UserError

# What train.py and evaluate.py instantiate or read by name; all else must be reached from there.
TRAIN_ROOTS = (
    *("data", "method.module", "callbacks", "logger", "strategy", "monitor.bank_size"),
    *("seed", "epochs", "batch_size", "accumulate", "clip_norm", "precision", "devices"),
    *(
        "sync_batchnorm",
        "compile",
        "num_nodes",
        "name",
        "resume",
        "save_every_n_minutes",
        "log_every_n_steps",
        "run_dir",
    ),
)
EVALUATE_ROOTS = (
    *("data", "protocol", "dataset", "backbone", "augmentation"),
    *("ckpt", "seed", "batch_size", "baselines", "out", "run_dir"),
)
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
COUNTS = (
    *("epochs", "batch_size", "accumulate", "num_nodes", "log_every_n_steps"),
    *("monitor.every_n_epochs", "monitor.k"),
)
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
        raise UserError(_first_line(error)) from error
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def check_counts(cfg: DictConfig, names: Iterable[str]) -> None:
    """Refuse a count below 1, and a seed that is none.

    Raises:
        UserError: Naming the knob.
    """
    for name in names:
        value = OmegaConf.select(cfg, name)
        if not _is_a(value, "int") or value < 1:
            raise UserError(f"{name}={value}: give a whole number of at least 1")
    if not _is_a(cfg.seed, "int") or not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: give a whole number from 0 to {2**32 - 1}")


def check_knobs(cfg: DictConfig) -> None:
    """Refuse run-wide knobs that make no sense, before anything is built.

    Raises:
        UserError: Naming the knob.
    """
    check_counts(cfg, COUNTS)
    if cfg.monitor.bank_size is not None and not _is_above_0(cfg.monitor.bank_size):
        raise UserError(
            f"monitor.bank_size={cfg.monitor.bank_size}: give a number above 0, or null"
        )
    for name in ("monitor.temperature", "save_every_n_minutes"):
        if not _is_above_0(OmegaConf.select(cfg, name)):
            raise UserError(f"{name}={OmegaConf.select(cfg, name)}: give a number above 0")
    if cfg.devices != "auto" and not (_is_a(cfg.devices, "int") and cfg.devices >= 1):
        raise UserError(f"devices={cfg.devices}: give a whole number of at least 1, or auto")
    for name in ("compile", "sync_batchnorm"):
        if not isinstance(cfg[name], bool):
            raise UserError(f"{name}={cfg[name]}: give true or false")
    if not _is_a(cfg.dataset.num_workers, "int") or cfg.dataset.num_workers < 0:
        raise UserError(f"dataset.num_workers={cfg.dataset.num_workers}: give 0 or more")
    if "/" in str(cfg.name):
        raise UserError(f"name={cfg.name} must not hold a slash: it names a folder")
    if str(cfg.precision) not in PRECISIONS:
        raise UserError(f"precision={cfg.precision} is unknown: use one of {', '.join(PRECISIONS)}")
    if cfg.clip_norm is not None and not _is_above_0(cfg.clip_norm):
        raise UserError(f"clip_norm={cfg.clip_norm}: give a number above 0, or null")


def _is_above_0(value: Any) -> bool:
    return _is_a(value, "float") and value > 0


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
            cause = UserError(where + _first_line(error.__cause__))
        raise (cause or error) from error.__cause__


_WIRING = {
    "method.module.optimizer.": "optimizer.",
    "method.module.scheduler.": "scheduler.",
    "method.module.backbone.": "backbone.",
    "method.module.": "method.",
    "data.augmentation.": "augmentation.",
    "data.splits.": "dataset.splits.",
}
_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "None": "null"}


def check_types(node: Any, place: str) -> None:
    """Refuse values of a type that the signature of a part of ours does not allow.

    Args:
        node: Resolved; dicts with a `_target_` are looked at.
        place: Its dotted key.

    Raises:
        UserError: Naming the key, the value and what to give.
    """
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    target = str(node.get("_target_", ""))
    types = _annotations(target) if target.startswith("ssl_zoo.") else {}
    for key, value in node.items():
        check_types(value, f"{place}.{key}")
        kinds = types.get(key, "").split(" | ")
        if value is None and node.get("_partial_"):
            continue  # the caller of the factory may give it
        if set(kinds) <= _KINDS.keys() and not any(_is_a(value, kind) for kind in kinds):
            name = _knob(f"{place}.{key}")
            raise UserError(f"{name}={value}: give {' or '.join(_KINDS[k] for k in kinds)}")


def _knob(place: str) -> str:
    """Where a value stands that the wiring hands on."""
    for wired, knobs in _WIRING.items():
        if place.startswith(wired):
            return knobs + place.removeprefix(wired)
    return place


def _annotations(target: str) -> dict[Any, str]:
    try:
        parameters = inspect.signature(hydra.utils.get_object(target)).parameters
    except ImportError:
        return {}  # Hydra will say so
    return {name: str(p.annotation) for name, p in parameters.items()}


def _is_a(value: Any, kind: str) -> bool:
    if kind == "None":
        return value is None
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    return isinstance(value, int if kind == "int" else int | float)


# --- knobs that nothing reads -------------------------------------------------------------------

_REFERENCE = re.compile(r"\$\{(?:oc\.select:)?(\.*[A-Za-z_][\w.\-/]*)\s*[,}]")


def _references(text: str) -> Iterator[str]:
    yield from _REFERENCE.findall(text)


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
        node = _select(raw, path)
        if isinstance(node, dict):
            todo += [f"{path}.{key}" for key in node]
        elif isinstance(node, list):
            todo += [f"{path}.{i}" for i in range(len(node))]
        elif isinstance(node, str):
            todo += [_absolute(reference, path) for reference in _references(node)]
    return [key for key in keys if not any(_covers(path, key) for path in read)]


def _covers(path: str, key: str) -> bool:
    return path == key or path.startswith(f"{key}.")


def _absolute(reference: str, path: str) -> str:
    dots = len(reference) - len(reference.lstrip("."))
    if dots == 0:
        return reference
    return ".".join([*path.split(".")[:-dots], reference.lstrip(".")])


def _select(tree: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree


def overridden_keys(overrides: Iterable[str]) -> list[str]:
    """The dotted keys of overrides that set values: no group choices, no deletions."""
    keys = [o.split("=", 1)[0].lstrip("+") for o in overrides if "=" in o and o[0] != "~"]
    return [key for key in keys if "/" not in key and "@" not in key]


def task_overrides() -> list[str]:
    """The overrides of this job's command line; none where there is no command line."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


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


# --- errors in one line, with the nearest names -------------------------------------------------


def nearest(name: str, names: Iterable[str]) -> str:
    """'did you mean ...' with up to three close names, else those of the same parent."""
    names = sorted(set(names))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    parent = name.rpartition(".")[0]
    siblings = [other for other in names if other.rpartition(".")[0] == parent]
    return f"known: {', '.join((siblings or names)[:40])}"


def _first_line(error: BaseException) -> str:
    text = str(error).replace("UserError raised while resolving interpolation: ", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _chosen_options() -> list[str]:
    """The group choices of this process's command line; of a sweep, the first one each."""
    chosen = chosen_options(sys.argv[1:])
    return [f"{g}={names[0]}" for g, names in chosen.items() if names[0] in options_of(g)]


def _known_keys(config_name: str) -> list[str]:
    """Every group, and every dotted key that the config accepts with the options chosen."""
    from hydra import compose, initialize_config_dir

    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        try:
            cfg = compose(config_name, _chosen_options())
        except HydraException:  # the choices are what is wrong
            cfg = compose(config_name)
    raw = OmegaConf.to_container(cfg, resolve=False)
    keys: list[str] = []

    def walk(node: Any, prefix: str) -> None:
        for key, value in node.items():
            keys.append(f"{prefix}{key}")
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    walk(raw, "")
    folders = [path for path in Path(CONFIG_DIR).rglob("*") if path.is_dir()]
    return keys + [path.relative_to(CONFIG_DIR).as_posix() for path in folders]


def explain(error: BaseException, config_name: str) -> str:
    """One line for a Hydra, OmegaConf or user error, with the nearest valid names."""
    text = str(error)
    if isinstance(error, MissingConfigException):
        options = re.search(
            r"Could not find '([^']+)'\s+Available options in '[^']+':(.*?)(?:\nConfig search|$)",
            text,
            re.S,
        )
        if options:
            group, _, name = options.group(1).rpartition("/")
            return f"{group}={name} is not an option: {nearest(name, options.group(2).split())}"
    if isinstance(error, ConfigCompositionException):
        key = re.search(r"Could not override '([^']+)'", text)
        if key:
            name = key.group(1).split("@")[0]
            if name.startswith("method/") and options_of(name):
                method = chosen_method(sys.argv[1:])
                return f"{name} is no slot of {method}: it has {', '.join(slots_of(method))}"
            if options_of(name):
                return f"{name} is a group of another program than {config_name}.py"
            return f"{name} is not a key of the config: {nearest(name, _known_keys(config_name))}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} is no KEY=VALUE: quote what holds commas, spaces or braces"
    if isinstance(error, InstantiationException):
        return " ".join(text.split())
    return _first_line(error)


def remove_if_empty(folder: str) -> None:
    """Take back the run folder that Hydra made, where nothing came of the run."""
    path = Path(folder)
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def fail(error: Exception, config_name: str = "train") -> NoReturn:
    """End the process with one line on stderr and exit code 2."""
    print(f"error: {explain(error, config_name)}", file=sys.stderr)
    sys.exit(2)


def run_cli(main: Callable[[], None], config_name: str) -> None:
    """Run a Hydra main; bad input ends in one line on stderr and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that Hydra hands its errors to us
    try:
        check_choices(sys.argv[1:])
        main()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        fail(error, config_name)
    except KeyboardInterrupt:
        sys.exit(130)
