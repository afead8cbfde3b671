"""One job of a sweep in a process of its own: started by `job_processes`.

`python -m ssl_zoo.training.sweep_process FOLDER`, where FOLDER holds what the launcher left there.
"""

from __future__ import annotations

import pickle
import runpy
import signal
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ssl_zoo.config import register_resolvers
from ssl_zoo.config.groups import own_folders
from ssl_zoo.launched import end_with_launcher
from ssl_zoo.types import first_line
from ssl_zoo.writing import write_atomically


@dataclass
class Task:
    """What a job's process needs to know.

    Attributes:
        function: The program's, as decorated by Hydra: its module or file, and its name.
        config: The job's, with its `hydra`.
        own_folders: The user's config folders.
    """

    function: tuple[str, str]
    config: DictConfig
    own_folders: list[str]

    def write(self, place: Path) -> None:
        (place / "task.pkl").write_bytes(pickle.dumps(self))

    @classmethod
    def read(cls, place: Path) -> Task:
        task: Task = pickle.loads((place / "task.pkl").read_bytes())
        return task


@dataclass
class Outcome:
    """What came of a job.

    Attributes:
        value: What the program returned.
        error: What it raised.
    """

    value: Any
    error: Exception | None

    def write(self, place: Path) -> None:
        try:
            content = pickle.dumps(self)
            pickle.loads(content)  # an exception with arguments of its own may not come back
        except Exception:
            assert self.error is not None
            lost = RuntimeError(f"{type(self.error).__name__}: {first_line(self.error)}")
            content = pickle.dumps(Outcome(None, lost))
        write_atomically(place / "outcome.pkl", lambda file: file.write(content))

    @classmethod
    def read(cls, place: Path) -> Outcome | None:
        """What a job left; None where its process ended without saying."""
        path = place / "outcome.pkl"
        return pickle.loads(path.read_bytes()) if path.is_file() else None


def place_of(function: TaskFunction) -> tuple[str, str]:
    """Where another process finds a program's function: its module, else its file; its name."""
    module = sys.modules[function.__module__]
    name = module.__spec__.name if module.__spec__ else str(module.__file__)
    return name, function.__name__


def _found(module: str, name: str) -> TaskFunction:
    is_file = module.endswith(".py")
    names = runpy.run_path(module, run_name="job") if is_file else vars(import_module(module))
    function: TaskFunction = names[name].__wrapped__
    return function


def main(place: Path) -> int:
    """Run the job, leave its outcome, and return the exit code."""
    end_with_launcher()
    for signum in (signal.SIGINT, signal.SIGTERM):  # no traceback where nothing can be saved yet
        signal.signal(signum, signal.SIG_DFL)
    register_resolvers()
    setup_globals()
    task = Task.read(place)
    own_folders[:] = task.own_folders
    returned = run_job(
        task_function=_found(*task.function),
        config=task.config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=HydraContext(None, Callbacks()),  # type: ignore[arg-type]  # composed already
    )
    failed = returned.status == JobStatus.FAILED
    value = returned._return_value
    Outcome(None if failed else value, value if failed else None).write(place)
    return int(failed)


if __name__ == "__main__":
    from ssl_zoo.training import sweep_process  # under its name, by which tasks are pickled

    sys.exit(sweep_process.main(Path(sys.argv[1])))
