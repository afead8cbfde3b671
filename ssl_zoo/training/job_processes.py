"""`hydra/launcher=joblib`: each job of a sweep in a process of its own, several side by side.

The plugin's own launcher trains one job after another in the same few processes, which then share
what a job leaves behind, and a process that is killed takes all jobs with it. Imports no torch.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from joblib import Parallel, cpu_count, delayed, effective_n_jobs
from omegaconf import DictConfig, open_dict

from ssl_zoo.config import told
from ssl_zoo.config.groups import own_folders
from ssl_zoo.lock import last_writer_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.training.child import start_child
from ssl_zoo.training.machine import Machine, Stop, stopping, visible_gpus
from ssl_zoo.training.statuses import FAILED
from ssl_zoo.training.sweep_process import Outcome, Task, place_of
from ssl_zoo.types import UserError

PROGRAM = "ssl_zoo.training.sweep_process"  # of each job
_log = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.Lock()


class JobProcesses(JoblibLauncher):  # type: ignore[misc]  # the plugin has no types
    """Joblib's launcher with a new process for each job, which has a part of the machine.

    Knobs are the plugin's: `hydra.launcher.n_jobs` jobs at once; -1 is one for each GPU, or for
    each core where there are no GPUs.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.composed = _Composed(hydra_context.config_loader)
        hydra_context.config_loader = self.composed  # type: ignore[assignment]
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        configs = [self._config(initial_job_idx + i, one) for i, one in enumerate(job_overrides)]
        gpus = visible_gpus()
        n_jobs = self.joblib.get("n_jobs", -1)
        at_once = len(gpus) if gpus and n_jobs == -1 else effective_n_jobs(n_jobs)
        at_once = max(1, min(at_once, len(configs)))
        _log.info("Launching %d jobs, %d at once", len(configs), at_once)
        machine = Machine(cpu_count(), gpus, at_once)
        with stopping() as stop:
            start = delayed(self._run)
            runs = Parallel(n_jobs=at_once, backend="threading")(
                start(config, list(overrides), machine, stop)
                for config, overrides in zip(configs, job_overrides, strict=True)
            )
        if stop.signum == signal.SIGINT:
            raise KeyboardInterrupt
        if stop.signum is not None:
            sys.exit(128 + stop.signum)
        return list(runs)

    def _config(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """A job's config, composed before the first one starts: later edits do not reach it."""
        config = self.composed.take(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config

    def _run(
        self, config: DictConfig, overrides: list[str], machine: Machine, stop: Stop
    ) -> JobReturn:
        """One job, from its start to its end."""
        returned = JobReturn(overrides=overrides, hydra_cfg=config, status=JobStatus.COMPLETED)
        with machine.part(config) as env, TemporaryDirectory(prefix="ssl_zoo_job_") as name:
            Task(place_of(self.task_function), config, list(own_folders)).write(Path(name))
            if stop.signum is not None:
                return returned
            with self._known_to_hydra(config) as callbacks:
                callbacks.on_job_start(config=config, task_function=self.task_function)
            # bars of several jobs in one terminal: lines instead
            env = {"TTY_COMPATIBLE": os.environ.get("TTY_COMPATIBLE", "0"), **env}
            process = start_child(PROGRAM, [name], env)
            stop.add(process)
            with process:  # closes its pipe, but not before its end
                process.wait()
            outcome = Outcome.read(Path(name))
        if outcome is None and stop.signum is None:
            outcome = Outcome(None, _death(config, process))
        if outcome is not None:
            failed = outcome.error is not None
            returned.status = JobStatus.FAILED if failed else JobStatus.COMPLETED
            returned.return_value = outcome.error if failed else outcome.value
        with self._known_to_hydra(config) as callbacks:
            callbacks.on_job_end(config=config, job_return=returned)
        return returned

    @contextmanager
    def _known_to_hydra(self, config: DictConfig) -> Iterator[Callbacks]:
        """The callbacks, for one job at a time, with its config as Hydra's own launchers set it."""
        with _ONE_AT_A_TIME:
            before = HydraConfig.instance().cfg
            HydraConfig.instance().set_config(config)
            try:
                yield self.hydra_context.callbacks
            finally:
                HydraConfig.instance().cfg = before


class _Composed:
    """A loader of configs that keeps those which Hydra's sweeper composed to check them.

    Args:
        loader: Hydra's.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._loader = loader
        self._kept: dict[tuple[str, ...], DictConfig] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of pickle, before there is a loader
            raise AttributeError(name)
        return getattr(self._loader, name)

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> Any:
        config = self._loader.load_sweep_config(master_config, sweep_overrides)
        self._kept[tuple(sweep_overrides)] = config
        return config

    def take(self, master_config: DictConfig, overrides: Sequence[str]) -> DictConfig:
        """A job's config, which nobody else is given."""
        kept = self._kept.pop(tuple(overrides), None)
        return kept or self._loader.load_sweep_config(master_config, list(overrides))


def replace_joblib_launcher() -> None:
    """Let Hydra start this launcher where its config names the plugin's."""
    name = f"{JoblibLauncher.__module__}.{JoblibLauncher.__name__}"
    Plugins.instance().class_name_to_class[name] = JobProcesses


def _death(config: DictConfig, process: subprocess.Popen[bytes]) -> UserError:
    """That of a job which reported nothing; the run that it wrote says so too."""
    code = process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    why = f"its process {how}{' (often: out of memory)' if -code == signal.SIGKILL else ''}"
    error = UserError(why)
    told(error, config.hydra.job.num)
    for path in Path(config.hydra.sweep.dir).iterdir():
        writer = last_writer_of(path)
        if writer is not None and writer.pid == process.pid:
            run = RunFolder(path)
            if result := run.read_result():
                run.write_result(result | {"status": FAILED, "error": why})
                error.kept = True  # type: ignore[attr-defined]
    return error
