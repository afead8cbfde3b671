"""The overrides of a multirun: what it sweeps, and what its jobs are set to. Imports no torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from shutil import which
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import DictConfig

from ssl_zoo.config.changes import changeable
from ssl_zoo.extras import how_to_install
from ssl_zoo.types import UserError

# Where a run is and what it is called: no part of its configuration.
_PLACE = ("run_dir", "name", "sweep", "resume", "trust", "dry_run")
_LAUNCHERS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
}


def check_launcher(args: Sequence[str]) -> None:
    """Refuse a launcher that is not installed, or that nothing reads.

    Args:
        args: The command line.

    Raises:
        UserError: Naming the extra, or the flag.
    """
    line = next((arg for arg in args if arg.startswith("hydra/launcher=")), None)
    if line is None:
        return
    shown = bool({"--cfg", "-c"} & {*args})
    if not shown and not {"-m", "--multirun", "hydra.mode=MULTIRUN"} & {*args}:
        raise UserError(f"{line} starts the jobs of a multirun: add -m")
    package = _LAUNCHERS.get(line.partition("=")[2])
    try:
        if package:
            importlib.import_module(package)
    except ImportError as error:
        plugin = package.rpartition(".")[2].replace("_", "-") if package else ""
        raise UserError(
            f"{line} needs {plugin}, which is not installed: {how_to_install(plugin)}"
        ) from error
    if not shown and line.endswith(("=slurm", "=submitit_slurm")) and which("srun") is None:
        raise UserError(
            f"{line}: there is no srun here: start it where SLURM's commands are, or choose "
            "hydra/launcher=submitit_local"
        )


def check_allocation(config: DictConfig) -> None:
    """Refuse a SLURM job whose tasks are not the processes of its run.

    Args:
        config: Of the multirun, with its `hydra`.

    Raises:
        UserError: Naming both.
    """
    launcher = config.hydra.launcher
    if not str(launcher._target_).endswith(".SlurmLauncher"):
        return
    swept = axes_of(config.hydra.overrides.task) & {"devices", "num_nodes"}
    if swept:
        raise UserError(f"{min(swept)} cannot be swept on SLURM: all jobs of a sweep are one array")
    devices, nodes = config.devices, config.num_nodes
    if not isinstance(devices, int):
        raise UserError(f"devices={devices}: give a number, which SLURM reserves")
    tasks, there = launcher.tasks_per_node, launcher.nodes
    alone = (tasks, there, nodes) == (1, 1, 1)  # it starts the processes of its devices itself
    if not alone and (tasks, there) != (devices, nodes):
        raise UserError(
            f"hydra.launcher.nodes={there} hydra.launcher.tasks_per_node={tasks} are not "
            f"num_nodes={nodes} devices={devices}: set these, and leave the launcher's out"
        )


def is_place(key: str) -> bool:
    """Whether a knob says where a run is, and not what it is."""
    return key in _PLACE


def fixed(key: str, axes: Iterable[str]) -> bool:
    """Whether a knob is part of what distinguishes a job from others of its sweep.

    Args:
        key: The knob.
        axes: What is swept; also knobs that a run that goes on may change distinguish then.
    """
    return not is_place(key) and (not changeable(key) or key in axes)


def settings(overrides: Iterable[str]) -> dict[str, Any]:
    """What overrides set that a sweep does not vary, by key: 0.10 and 1e-1 are one number."""
    return {_key(one): _value(one) for one in _parsed(overrides) if not _varies(one)}


def axes_of(overrides: Iterable[str]) -> set[str]:
    """The keys that a multirun's overrides sweep."""
    return {_key(one) for one in _parsed(overrides) if _varies(one)}


def without_repeats(overrides: Iterable[str]) -> tuple[list[str], list[str]]:
    """The overrides with each value of a sweep once, and those that named one twice."""
    kept, repeating = [], []
    for one in _parsed(overrides):
        choice = one.value()
        line = str(one.input_line)
        if isinstance(choice, ChoiceSweep) and not (choice.shuffle or choice.tags):
            values = list(one.sweep_string_iterator())
            once = list(dict.fromkeys(values))
            if len(once) < len(values):
                repeating.append(line)
                line = f"{one.get_key_element()}={','.join(map(str, once))}"
        kept.append(line)
    return kept, repeating


def jobs_of(overrides: Iterable[str], loader: ConfigLoader) -> list[dict[str, Any]] | None:
    """What each job of a grid is set to; None where a sweeper chooses the values itself."""
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))
    if any(one.is_sweep_override() and not one.is_discrete_sweep() for one in parsed):
        return None
    return [settings(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


def _parsed(overrides: Iterable[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def _varies(one: Override) -> bool:
    """Whether a sweep has more than one value of it."""
    return one.is_sweep_override() and len(getattr(one.value(), "list", ())) != 1


def _value(one: Override) -> Any:
    if not one.is_sweep_override():
        return one.value()
    (alone,) = one.sweep_string_iterator()
    return _parsed([f"{one.get_key_element()}={alone}"])[0].value()


def _key(override: Override) -> str:
    lead = "~" if override.is_delete() else ""
    return lead + str(override.get_key_element()).lstrip("+~")
