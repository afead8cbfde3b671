"""What a sweep's folder holds, beside what a multirun is about to run. Imports no torch."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import axes_of, fixed, settings
from ssl_zoo.metric_names import objective_of
from ssl_zoo.multirun import config_of, results_in
from ssl_zoo.run_folder import KEPT, RunFolder
from ssl_zoo.training.sweep_job import axes_in
from ssl_zoo.types import UserError, as_typed

_ABSENT = object()


def check_same(folder: Path, config: DictConfig) -> None:
    """Refuse a multirun in the folder of another experiment.

    What is swept, now or until now, may be anything; what all runs there have in common must stay,
    but for the knobs that a run that goes on may change; unless all failed before they saved
    anything, as for a typing error, which may be mended.

    Args:
        folder: The sweep's, which exists.
        config: Of the multirun, with its `hydra`.

    Raises:
        UserError: Naming what differs.
    """
    given = list(config.hydra.overrides.task)
    axes = axes_of(given) | axes_in(folder)
    ours = settings(given)
    runs = [(name, settings(result["overrides"])) for name, result in _began(folder)]
    if all(RunFolder(folder / name).came_to_nothing() for name, _ in runs):
        return
    keys = dict.fromkeys([*ours, *(key for _, theirs in runs for key in theirs)])
    changed: dict[str, str] = {}
    for key in keys:
        if key in axes or not fixed(key, ()):
            continue
        new = ours.get(key, _default(config, key))
        old = [theirs[key] if key in theirs else _saved(folder / n, key) for n, theirs in runs]
        # runs that differ in it: an axis of an earlier command
        if old and all(one == old[0] for one in old) and old[0] != new:
            changed[key] = f"{key}={_shown(new)} (was {_shown(old[0])})"
    if list(changed) == ["objective"]:
        raise UserError(f"{folder}: {changed['objective']}: {_by_another(folder, ours)}")
    if changed:
        raise UserError(
            f"{folder} holds runs of another config: {', '.join(changed.values())}: give what they "
            f"have, choose another sweep=NAME, or sweep both, as in {next(iter(changed))}=A,B"
        )


def _by_another(folder: Path, ours: dict[str, Any]) -> str:
    """What to do where only the objective differs: of runs that have ended it changes nothing."""
    logged = {name for _, result in _began(folder) for name in result.get("metrics", {})}
    wanted = objective_of(logged, ours.get("objective"))
    shows = "none of them has logged the other one"
    if wanted is not None:
        name = shlex.quote(wanted.name)
        table = f"python -m ssl_zoo.table {shlex.quote(str(folder))} --metric {name} --sort {name}"
        shows = f"this shows them by the other one: {table}"
    return (
        "the best.ckpt of its runs was chosen by that: give what they have, or choose another "
        f"sweep=NAME; {shows}"
    )


def progress(folder: Path, jobs: Sequence[dict[str, Any]] | None) -> str:
    """How far the jobs of a multirun are, in words.

    Args:
        folder: The sweep's.
        jobs: What each is set to; None where that is not known.
    """
    began = _began(folder)
    if jobs is not None:
        axes = {key for one in jobs for key in one if any(one[key] != x.get(key) for x in jobs)}
        wanted = [_fixed(one, axes) for one in jobs]
        began = [r for r in began if _fixed(settings(r[1]["overrides"]), axes) in wanted]
    counts = Counter(_word(result["status"]) for _, result in began)
    done = f"{counts.pop('done', 0)} {'' if jobs is None else f'of {len(jobs)} '}jobs done"
    said = [f"{number} {word}" for word, number in sorted(counts.items())]
    if jobs is not None and len(jobs) > len(began):
        said.append(f"{len(jobs) - len(began)} not started")
    return ", ".join([done, *said])


def _began(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(name, result) for name, result in results_in(folder) if "overrides" in result]


def _fixed(one: dict[str, Any], axes: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if fixed(key, axes)}


def _word(status: str) -> str:
    return "done" if status in KEPT else status.replace("_", " ")


def _default(config: DictConfig, key: str) -> Any:
    """What a knob or a group is that the command line does not name."""
    choices = config.hydra.runtime.choices
    return _plain(
        choices[key] if key in choices else OmegaConf.select(config, key, default=_ABSENT)
    )


def _saved(folder: Path, key: str) -> Any:
    """What a knob is in a run that did not name it; a group is not told from its parts."""
    run = RunFolder(folder)
    config = OmegaConf.create(config_of(run))
    return _plain(OmegaConf.select(config, key, default=_ABSENT))


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _shown(value: Any) -> Any:
    return "its default" if value is _ABSENT else as_typed(value)
