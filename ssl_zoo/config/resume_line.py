"""The command line `resume=RUN ...`, which Hydra does not compose. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from ssl_zoo.config.groups import CONFIG_DIR
from ssl_zoo.types import UserError

_FOLDER_FLAGS = ("--config-dir", "-cd")


class ResumeLine(NamedTuple):
    """What it says.

    Attributes:
        run: The run's folder or its last.ckpt, as typed.
        changes: The other overrides.
        trust: As in `trusting`.
    """

    run: str
    changes: list[str]
    trust: Any


def resume_line(args: Sequence[str]) -> ResumeLine | None:
    """The command line of one run that goes on; None for another, which is Hydra's.

    Hydra would compose the overrides with a new run's data set and loggers, whose keys are
    others. It is left what its flags ask for: a multirun, `--cfg job`.

    Raises:
        UserError: If `resume=` has no value, or several.
    """
    typed = _without_folders(args)
    if not any(arg.startswith("resume=") for arg in typed):
        return None
    if any(arg.startswith("-") for arg in typed):
        return None
    run, trust, changes = None, None, []
    for arg in typed:
        if arg.startswith("resume="):
            run = _value(arg)
        elif arg.startswith("trust="):
            trust = _value(arg)
        elif not arg.startswith("hydra."):
            changes.append(arg)
    if run == "":
        raise UserError("resume= has no value: give a run folder, as in resume=runs/RUN")
    # resume=null is that of a new run
    return None if run is None else ResumeLine(str(run), changes, trust)


def _without_folders(args: Sequence[str]) -> list[str]:
    """The arguments but for the folders of one's own configs."""
    kept, rest = [], iter(args)
    for arg in rest:
        if arg in _FOLDER_FLAGS:
            next(rest, None)
        elif not arg.startswith("--config-dir="):
            kept.append(arg)
    return kept


def _value(arg: str) -> Any:
    override = OverridesParser.create().parse_override(arg)
    if override.is_sweep_override():
        raise UserError(f"{arg} names several runs: resume one after another")
    return override.value()


def go_on(line: ResumeLine, resume: Callable[..., object]) -> None:
    """Call `resume(run, *changes, trust=)`, with messages as Hydra's main sets them up."""
    logs = Path(CONFIG_DIR) / "hydra" / "job_logging" / "plain.yaml"
    configure_log(OmegaConf.load(logs))  # type: ignore[arg-type]  # a dict
    resume(line.run, *line.changes, trust=line.trust)
