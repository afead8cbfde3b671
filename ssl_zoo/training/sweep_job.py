"""Where a job of a sweep belongs: a run of its configuration, or a new folder. Imports no torch."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ssl_zoo.config import (
    axes_of,
    changeable,
    differing,
    fixed,
    in_words,
    is_place,
    task_overrides,
    to_plain,
    wiring_of,
    with_absolute_places,
)
from ssl_zoo.launched import cluster_job, is_rank_zero
from ssl_zoo.lock import Writer, writer_of
from ssl_zoo.multirun import overrides_of
from ssl_zoo.run_folder import ENDED, KEPT, RunFolder, moved, new_folder
from ssl_zoo.stopping import STOPPING
from ssl_zoo.training.statuses import INTERRUPTED
from ssl_zoo.types import UserError

_log = logging.getLogger("ssl_zoo")


@dataclass
class Found:
    """The run that a job of a sweep is already.

    Attributes:
        folder: The run's.
        metrics: Its last ones, where nothing is left to do; None where it goes on.
        changes: Overrides with which it goes on.
    """

    folder: RunFolder
    metrics: dict[str, float] | None
    changes: list[str]


def found_in_sweep(cfg: DictConfig) -> Found | None:
    """The run of the same configuration in the job's sweep; None if the job is to be trained.

    It is told by its resolved config but for the knobs that a run that goes on may change, whatever
    its number. `run_dir` in `cfg` becomes the folder to train in.

    Args:
        cfg: As composed for a job.

    Raises:
        UserError: If a run has the job's settings, but its config is another.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    if cfg.dry_run or cfg.trainer.fast_dev_run:
        return None
    hydra = HydraConfig.get()
    if "goes_on" in hydra.sweeper:  # a search knows the run of each trial
        return None
    own, sweep = RunFolder(hydra.runtime.output_dir), Path(hydra.sweep.dir)
    runs = [run for run in _runs_in(sweep) if run.read_result() or run.config.is_file()]
    runs.sort(key=lambda run: run.path.absolute() != own.path.absolute())  # likely its own
    job = _Job(cfg, sweep)
    found = next((run for run in runs if job.is_of(run)), None)
    if found is not None:
        return _go_on(job, found, hydra.job.num)
    there = next((run for run in runs if run.path.absolute() == own.path.absolute()), None)
    if is_rank_zero() and there is not None and not job.replaces(there):
        cfg.run_dir = str(new_folder(own.path))
        _log.info("job %s: %s is that of another job: in %s", hydra.job.num, own, cfg.run_dir)
    return None


def _runs_in(sweep: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted(sweep.iterdir()) if path.is_dir()]


def axes_in(sweep: Path) -> set[str]:
    """The keys that the last multirun in a folder swept, by Hydra's multirun.yaml."""
    return axes_of(overrides_of(sweep))


class _Job:
    """A job's configuration, to compare runs with."""

    def __init__(self, cfg: DictConfig, sweep: Path) -> None:
        self.cfg, self.axes = cfg, axes_in(sweep)
        self.overrides = task_overrides()

    @cached_property
    def config(self) -> dict[str, Any]:
        """As a run saves it."""
        return to_plain(with_absolute_places(self.cfg))

    @cached_property
    def wiring(self) -> dict[str, str]:
        return wiring_of(self.cfg)

    def is_of(self, run: RunFolder) -> bool:
        """Whether a run is this job, or what is left of it where nothing of it was saved.

        Raises:
            UserError: If it has this job's settings, but its config is another, or is damaged.
        """
        result = run.read_result()
        same = self._typed(result.get("overrides", [])) == self._typed(self.overrides)
        try:
            saved = run.read_config() if run.config.is_file() else None
        except UserError:
            if same:
                raise
            return False
        if saved is not None and not (others := self._others(run, saved)):
            return True
        if not same:
            return False
        if saved is not None and (run.last.is_file() or result.get("status") in KEPT):
            raise UserError(
                f"{run} is a run of these settings with another config: "
                f"{', '.join(in_words(others))}: undo that, or choose another sweep=NAME"
            )
        return True

    def replaces(self, run: RunFolder) -> bool:
        """Whether a run came to nothing that was no job of this grid, such as for a typing error.

        In its folder another job may not be about to try it again.
        """
        theirs = self._typed(run.read_result().get("overrides", []))
        differing = theirs ^ self._typed(self.overrides)
        return run.came_to_nothing() and any(_key(one) not in self.axes for one in differing)

    def differing(self, run: RunFolder, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """What differs from a run's saved config, by knob, wherever the two lie."""
        here = moved(self.config, self.config["run_dir"], str(run.path.resolve()))
        found = differing(saved, here, self.wiring) if saved != here else {}
        return {key: values for key, values in found.items() if not is_place(key)}

    def _others(self, run: RunFolder, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Of these, what makes it another job."""
        found = self.differing(run, saved)
        return {key: values for key, values in found.items() if fixed(key, self.axes)}

    def changes(self, run: RunFolder) -> list[str]:
        """The overrides of this job of what may change, where the run has another value."""
        saved = run.read_config()
        new = set(self.differing(run, saved))
        own, ours = OmegaConf.create(saved), OmegaConf.create({"logger": self.config["logger"]})

        def is_new(key: str) -> bool:
            if not key.startswith("logger."):
                return key in new
            return bool(OmegaConf.select(own, key) != OmegaConf.select(ours, key))

        last = {_key(one): one for one in self.overrides}
        return [one for key, one in last.items() if changeable(key) and is_new(key)]

    def _typed(self, overrides: Iterable[str]) -> set[str]:
        return {one for one in overrides if fixed(_key(one), self.axes)}


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _go_on(job: _Job, run: RunFolder, number: int) -> Found | None:
    """What is left to do of a run, said in a line; None if it is trained from its start."""
    result = run.read_result()
    status, metrics = result.get("status", INTERRUPTED), dict(result.get("metrics", {}))
    if (writer := writer_of(run.path)) and not _is_rank_zero_of_this_job(writer):
        _log.info("job %s: %s is being trained by %s: not twice", number, run, writer)
        return Found(run, metrics, [])
    changes = job.changes(run) if run.config.is_file() else []
    asked = job.config["epochs"]
    epochs = run.read_config().get("epochs", asked) if run.config.is_file() else asked
    longer = any(_key(one) == "epochs" for one in changes) and asked > epochs
    if status in KEPT and not (status in ENDED and longer and run.last.is_file()):
        own = "" if epochs == asked else f" with its epochs={epochs}"
        _log.info("job %s: %s is %s: kept%s", number, run, status, own)
        return Found(run, metrics, [])
    job.cfg.run_dir = str(run.path.absolute())
    if run.last.is_file():
        _log.info("job %s: %s is %s: it goes on", number, run, status)
        return Found(run, None, changes)
    _log.info("job %s: %s was %s before it saved anything: again", number, run, status)
    return None


def _is_rank_zero_of_this_job(writer: Writer) -> bool:
    """Whether it is that for which this process, another task of its SLURM job, is to train too."""
    return not is_rank_zero() and writer.job == cluster_job().name != ""


def keep_failure(cfg: DictConfig, error: Exception) -> None:
    """Let a run that was tried again say why it failed now, and no other folder say it too."""
    if getattr(error, "kept", False) or not is_rank_zero():
        return
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    if "${" in str(raw["run_dir"]):
        return  # the job's own new folder
    run = RunFolder(cfg.run_dir)
    finished = run.read_result().get("status") in KEPT  # and stays so, whatever was asked of it
    if writer_of(run.path) is None and (finished or run.fail(str(error))):
        error.kept = True  # type: ignore[attr-defined]


@contextmanager
def apart() -> Iterator[None]:
    """What a job does to its process is undone: signal handlers, environment, current folder."""
    environment, place = dict(os.environ), os.getcwd()
    handlers = {s: h for s in STOPPING if (h := signal.getsignal(s)) is not None}
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(place)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
