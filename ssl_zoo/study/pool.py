"""Where a study's children run: side by side on this machine, or as jobs of a cluster. No torch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Any, Protocol

from ssl_zoo.config import trusted_packages, trusting
from ssl_zoo.lock import writer_of
from ssl_zoo.study.settings import Settings
from ssl_zoo.training.child import start_child
from ssl_zoo.training.machine import Machine, Stop, visible_gpus
from ssl_zoo.types import UserError

_LOOK = 0.2  # seconds between two looks at a lock or a job


@dataclass(frozen=True)
class Work:
    """A child process.

    Attributes:
        program: Its module.
        args: Of its command line.
        output: The file that it prints into.
        folder: The run's, which nobody else may be writing; None = it has none.
        config: Of the run, for the devices that it needs.
        env: Beside this process's environment.
    """

    program: str
    args: list[str]
    output: Path
    folder: Path | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)


class Pool(Protocol):
    """Runs children."""

    slots: int

    def submit(self, work: Work) -> Future[int]:
        """Start a child when there is room; the future has its exit code, below 0 by a signal."""

    def close(self) -> None:
        """No more work comes."""


def at_once(settings: Settings) -> tuple[int, list[str], int]:
    """Cores, GPUs, and how many runs share them."""
    cores, gpus = os.cpu_count() or 1, visible_gpus()
    if hasattr(os, "sched_getaffinity"):  # Linux: those that this process may use
        cores = len(os.sched_getaffinity(0))
    return cores, gpus, settings.jobs or len(gpus) or cores


def pool_of(settings: Settings, folder: Path, stop: Stop) -> Pool:
    """The pool that `launcher` names.

    Raises:
        UserError: If submitit is not installed, or refuses its parameters.
    """
    if settings.launcher == "submitit":
        return Submitit(settings, folder, stop)
    return Local(settings, stop)


class Local:
    """A part of this machine for each child."""

    def __init__(self, settings: Settings, stop: Stop) -> None:
        cores, gpus, self.slots = at_once(settings)
        self._machine, self._stop = Machine(cores, gpus, self.slots), stop
        self._threads = ThreadPoolExecutor(self.slots)
        self._trusted = trusted_packages()

    def submit(self, work: Work) -> Future[int]:
        return self._threads.submit(self._run, work)

    def _run(self, work: Work) -> int:
        with self._machine.part(work.config) as env, trusting(self._trusted):
            return run_child(work, env, self._stop)

    def close(self) -> None:
        self._threads.shutdown()


def run_child(work: Work, env: Mapping[str, str], stop: Stop) -> int:
    """Start a child and wait for it, but not before another process has left the run's folder.

    A child of a supervisor that was killed takes a moment to end.
    """
    while work.folder is not None and work.folder.is_dir() and writer_of(work.folder):
        if stop.signum is not None:
            break
        sleep(_LOOK)
    if stop.signum is not None:
        return -int(signal.SIGTERM)
    work.output.parent.mkdir(parents=True, exist_ok=True)
    with (
        work.output.open("ab") as file,
        start_child(work.program, work.args, {**env, **work.env}, file) as process,
    ):
        stop.add(process)
        return process.wait()


def last_line(file: Path) -> str:
    """The last line that a child printed, without "error: "."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""


class Submitit:
    """A job of submitit for each child; a job ends its child when it is cancelled."""

    def __init__(self, settings: Settings, folder: Path, stop: Stop) -> None:
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                "launcher=submitit needs submitit: pip install 'ssl_zoo[submitit]'"
            ) from error
        given = dict(settings.submitit)
        self.slots = settings.jobs or 64
        try:
            executor = submitit.AutoExecutor(
                str(folder / "submitit"), cluster=given.pop("cluster", None)
            )
            executor.update_parameters(**{"timeout_min": 24 * 60, "name": settings.name, **given})
        except (TypeError, ValueError, NameError, RuntimeError) as error:
            raise UserError(f"submitit={given}: {error}") from error
        self._executor, self._stop = executor, stop
        self._threads = ThreadPoolExecutor(self.slots)
        self._trusted = trusted_packages()

    def submit(self, work: Work) -> Future[int]:
        return self._threads.submit(
            self._wait, self._executor.submit(in_job, work, self._trusted, sys.path)
        )

    def _wait(self, job: Any) -> int:
        stopped = False
        while not job.done():
            if self._stop.signum is not None and not stopped:
                stopped = True
                job.cancel(check=False)
            sleep(_LOOK)
        if stopped or job.exception() is not None:
            return -int(signal.SIGTERM)
        return int(job.result())

    def close(self) -> None:
        self._threads.shutdown()


def in_job(work: Work, trusted: tuple[str, ...], path: list[str]) -> int:
    """A child inside a job, which passes the cluster's signal on to it.

    Args:
        work: What to start.
        trusted: Packages of the user's.
        path: From where the supervisor imports.
    """
    stop, sys.path[:] = Stop(), path

    def on_signal(signum: int, frame: FrameType | None) -> None:
        stop.on_signal(signum, frame)

    signal.signal(signal.SIGTERM, on_signal)
    with trusting(trusted):
        return run_child(work, {}, stop)
