"""A run's frozen config, for a process that composes nothing: job.yaml. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssl_zoo.config.resolvers import NO_FOLDER
from ssl_zoo.types import UserError
from ssl_zoo.writing import write_text

NAME = "job.yaml"
PROGRAM = "ssl_zoo.training.job"  # trains what is in its folder
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is one


@dataclass
class Job:
    """What a run or one of its ranks needs to know; plain, since it goes through a file.

    Attributes:
        config: Resolved.
        folder: The run's.
        shown: What a line names as the folder.
        resume: Whether to go on from its last.ckpt.
        new_schedule: Whether the schedule has another length than that of the checkpoint.
        changes: Overrides that a resume was given.
        wiring: As saved with checkpoints, see `wiring_of`.
        composed: The config as composed, so that errors name its knobs.
        overrides: Of the command line.
        log_level: Of ssl_zoo's messages.
        copies: Places of the config that only repeat another: a dashboard leaves them out.
        options: What the config's groups were chosen from, by group.
        first_step: Where it begins, after the steps of the parts before.
        whole: Whether it is all of a run, which makes its folder and starts its ranks itself.
    """

    config: dict[str, Any]
    folder: str
    shown: str
    resume: bool
    new_schedule: bool
    changes: list[str]
    wiring: dict[str, str] | None
    composed: dict[str, Any]
    overrides: list[str]
    log_level: int
    copies: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    first_step: int = 0
    whole: bool = False

    def write(self, place: Path) -> None:
        """Write it into a folder, as job.yaml."""
        write_text(place / NAME, yaml.safe_dump(asdict(self), sort_keys=False))

    @classmethod
    def read(cls, place: Path) -> Job:
        """The job of a folder that the launcher or a study made.

        Raises:
            UserError: If it is another folder.
        """
        path = place / NAME
        if not path.is_file():
            raise UserError(
                f"{place} is not the folder of a job, which ssl_zoo makes for itself: a run "
                "goes on with python train.py resume=RUN"
            )
        return cls(**yaml.load(path.read_text(encoding="utf-8"), _Loader))


@contextmanager
def known_to_hydra(job: Job) -> Iterator[None]:
    """Inside, a job's overrides and options are known as if train.py had been started with them."""
    hydra = {
        "mode": RunMode.RUN,
        "run": {"dir": NO_FOLDER},
        "overrides": {"task": job.overrides},
        "runtime": {"choices": job.options, "output_dir": job.folder},
        "job": {"config_name": "train"},
    }
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra})  # type: ignore[assignment]
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before
