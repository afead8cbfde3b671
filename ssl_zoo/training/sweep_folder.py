"""The folder of a multirun: new, or one that goes on; locked while jobs are started. No torch."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from ssl_zoo.config import check_allocation, command_of, fail, jobs_of, typed, without_repeats
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.lock import NAME, locked
from ssl_zoo.multirun import MARK, is_search, is_sweep
from ssl_zoo.run_folder import RunFolder, new_folder
from ssl_zoo.stopping import AHEAD, listen
from ssl_zoo.training.machine import give_gpus
from ssl_zoo.training.requeue import say_stopped
from ssl_zoo.training.statuses import BAD_INPUT, was_stopped
from ssl_zoo.training.sweep import summarize
from ssl_zoo.training.sweep_grid import check_same, progress
from ssl_zoo.types import UserError, listed

_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
_here: list[SweepFolder] = []  # the multirun of this process


class SweepFolder(Callback):
    """Makes the sweep's folder, or goes on with it, and hands its name to every job.

    Attributes:
        folder: The sweep's.
        jobs: What each is set to; None where a sweeper chooses that itself.
        failed: The errors of its jobs, by number.
        requeue: Whether to queue its SLURM job again, where SIGUSR1 or SIGUSR2 stops it.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "held"}  # for submitit

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.process = os.getpid()
        self.failed: dict[int, Exception] = {}
        try:
            self._start(config)
        except BAD_INPUT as error:
            fail(error)  # Hydra would only warn of an exception, and run the jobs all the same
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        _here[:] = [self]
        self.requeue = bool(config.get("requeue"))
        if threading.current_thread() is threading.main_thread():
            listen((signal.SIGTERM, *AHEAD))  # a run saves first: it has its own handlers

    def _start(self, config: DictConfig) -> None:
        check_allocation(config)
        self.held = ExitStack()
        atexit.register(self.held.close)
        self.folder, self.goes_on = _claimed(config, self.held)
        atexit.register(_take_back, self.folder, self.held)
        quoted = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
        given, repeating = without_repeats(config.hydra.overrides.task)
        for one in repeating:
            _say(f"{one} names a value twice: run once")
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(self.folder)
            # each job's config is composed anew from these, maybe by another process
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")
            config.hydra.overrides.task = given
        if str(config.hydra.launcher._target_).endswith(".JoblibLauncher"):
            from ssl_zoo.training.job_processes import replace_joblib_launcher

            replace_joblib_launcher()
        if said := give_gpus(config):
            _say(said)
        self.jobs = None
        if config.hydra.sweeper._target_ == _BASIC:
            params = config.hydra.sweeper.params or {}
            given = [*(f"{key}={params[key]}" for key in params), *given]
            self.jobs = jobs_of(given, GlobalHydra.instance().config_loader())

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Take a grid's failed jobs down: Hydra would not start those of a next batch."""
        if config.hydra.mode.name != "MULTIRUN" or job_return.status != JobStatus.FAILED:
            return
        if os.getpid() == self.process and self.jobs is not None:  # not in submitit's process
            self.failed[config.hydra.job.num] = job_return._return_value
            job_return.status, job_return.return_value = JobStatus.COMPLETED, None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.held.close()
        if self.goes_on:  # a kill may have come between a run's end and the summary
            summarize(self.folder)
        if not self.failed:
            return
        numbers = listed([str(number) for number in sorted(self.failed)], shown=20)
        _say(
            f"{self.folder}: {len(self.failed)} of {len(self.jobs or [])} jobs failed: {numbers}; "
            f"the same command with {typed('sweep', _short(self.folder))} runs them again"
        )
        ours = all(isinstance(error, BAD_INPUT) for error in self.failed.values())
        sys.exit(2 if ours else 1)


@contextmanager
def told_how_it_goes_on() -> Iterator[None]:
    """Where a signal ends a multirun, the command that goes on with all of it is said.

    What submitit could not start, or lost, is a line too.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("submitit."):
            raise
        fail(UserError(f"submitit: {shorten(str(error), 400, placeholder=' ...')}"))
    except SystemExit as stop:
        if was_stopped(stop):
            _say_how(_here, getattr(stop, "signum", signal.SIGINT))
        raise


def _say_how(sweeps: list[SweepFolder], signum: int) -> None:
    for sweep in sweeps:
        command = command_of(_short(sweep.folder))
        counts = progress(sweep.folder, sweep.jobs)
        line = f"{sweep.folder}: {counts}; continue all of it with: {command}"
        say_stopped(line, signum, sweep.requeue, _say)


def _say(line: str) -> None:
    """On stderr, since Hydra's log of a multirun is no place of ours."""
    print(line, file=sys.stderr, flush=True)


def _short(folder: Path) -> str:
    """A sweep's folder as sweep= takes it: its name below runs/, else its path."""
    if folder.parent == Path("runs"):
        return folder.name
    return str(folder) if "/" in str(folder) else f"./{folder}"


def _claimed(config: DictConfig, held: ExitStack) -> tuple[Path, bool]:
    """The folder that this multirun has to itself, and whether runs are in it.

    Args:
        config: Of the multirun.
        held: Comes to hold the folder's lock.

    Raises:
        UserError: If another has it, it is that of another experiment, or it cannot be made.
    """
    if not is_rank_zero() or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("-m starts every job itself: start one process, not one for each rank")
    given = config.hydra.overrides.task
    if (run := _last(given, "resume")) and not run.endswith("=null"):
        raise UserError(f"{run} is of runs that exist: resume one after another, without -m")
    if (one := _last(given, "run_dir")) and not config.dry_run:
        raise UserError(f"{one} is the folder of one run: for those of -m give sweep=NAME")
    named = _last(given, "sweep")
    placed = _last(config.hydra.overrides.hydra, "hydra.sweep.dir")
    if named and placed:
        raise UserError(f"{named} and {placed} both name the sweep's folder: remove one")
    folder = Path(config.hydra.sweep.dir)
    if placed:
        folder = folder if "goes_on" in config.hydra.sweeper else _unused(folder)
    elif not named or (config.sweep is None and named.endswith("=null")):
        folder = new_folder(folder)
    else:
        _make(folder, named, config.sweep)
    if "goes_on" in config.hydra.sweeper:  # several processes share it, and it checks itself
        _mkdir(folder, placed or named or "sweep")
        _check_places(folder)
        return folder, False
    if left := held.enter_context(locked(folder)):
        _say(left)
    _check_places(folder)
    if placed or not any(path.name not in (NAME, MARK) for path in folder.iterdir()):
        return folder, False
    if not is_sweep(folder):
        raise UserError(
            f"{named}: {folder} exists, and is not the folder of a sweep: choose another name"
        )
    if is_search(folder):
        raise UserError(
            f"{named}: {folder} is the folder of a search: go on with hydra/sweeper=optuna, or "
            "choose another name"
        )
    check_same(folder, config)
    return folder, True


def _check_places(folder: Path) -> None:
    """Refuse a file, or a link to nothing, where the folder of a job belongs.

    Raises:
        UserError: Naming it.
    """
    for path in sorted(folder.iterdir()):
        if path.name.isdecimal() and not path.is_dir():
            raise UserError(f"{path} is not a folder, and a job's belongs there: move it away")


def _make(folder: Path, named: str, sweep: Any) -> None:
    """The folder of sweep=NAME, unless it is there; that of sweep=PATH must be.

    Raises:
        UserError: If it is not one name, or it cannot be made.
    """
    name = sweep if isinstance(sweep, str) else named.partition("=")[2]
    if isinstance(sweep, str) and "/" in name and folder.is_dir():
        return
    if not isinstance(sweep, str | int | float) or not re.fullmatch(r"(?!\.)[^/\\]+", name):
        raise UserError(
            f"{named}: give one name, the folder is runs/NAME; a path must be that of a sweep, "
            "which goes on"
        )
    _mkdir(folder, named)


def _mkdir(folder: Path, named: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{named}: cannot make {folder}: {error.strerror}") from error


def _last(overrides: Iterable[str], key: str) -> str | None:
    """The override of a key that counts."""
    return next((o for o in reversed(list(overrides)) if o.lstrip("+").startswith(f"{key}=")), None)


def _unused(folder: Path) -> Path:
    """The folder of hydra.sweep.dir=, which may exist; two multiruns cannot both create the mark.

    Raises:
        UserError: If runs are in it.
    """
    taken = (
        f"hydra.sweep.dir={folder} holds runs already: choose another folder, or go on with "
        f"{typed('sweep', _short(folder))}"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(RunFolder(path).result.exists() for path in (folder, *folder.iterdir())):
            raise UserError(taken)
        mark = os.open(folder / MARK, os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        if is_sweep(folder):
            raise UserError(taken) from error
        raise UserError(f"hydra.sweep.dir={folder} cannot be written: {error.strerror}") from error
    os.close(mark)
    return folder


def _take_back(folder: Path, held: ExitStack) -> None:
    """Where no job began, so that the command can be repeated without its mistake."""
    held.close()
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [MARK]:
            (folder / MARK).unlink()
        folder.rmdir()  # if it is empty
