"""A run, or one of the processes of a run on several devices, from its frozen config.

`python -m ssl_zoo.training.job FOLDER`, where FOLDER holds the job.yaml of the launcher, or of a
study.
"""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

from ssl_zoo.callbacks import Interrupted
from ssl_zoo.config import naming_knobs, register_resolvers
from ssl_zoo.console import quiet_lightning
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.launched import end_with_launcher
from ssl_zoo.sealing import closed_in
from ssl_zoo.training.frozen import Job, known_to_hydra
from ssl_zoo.training.launcher import report_outcome
from ssl_zoo.training.run import train_frozen, train_here
from ssl_zoo.types import UserError


def main(place: Path) -> int:
    """Train, and return the exit code."""
    job = Job.read(place)
    end_with_launcher()
    for signum in (signal.SIGINT, signal.SIGTERM):  # no traceback where nothing can be saved yet
        signal.signal(signum, signal.SIG_DFL)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ssl_zoo").setLevel(job.log_level)
    quiet_lightning()
    keep_freed_memory()
    register_resolvers()
    return _all_of_it(job) if job.whole else _one_rank(job, place)


def _all_of_it(job: Job) -> int:
    """All of a run, which maintains its own folder; of a study, it opens no test images."""
    closed_in(Path(job.folder))
    with known_to_hydra(job), naming_knobs(job.composed, job.overrides):
        train_frozen(job)
    return 0


def _one_rank(job: Job, place: Path) -> int:
    """One process of several, which reports to the launcher."""
    try:
        with naming_knobs(job.composed, job.overrides):
            metrics = train_here(job)
    except Interrupted as stop:
        report_outcome(place, stop)
    except BaseException as error:
        report_outcome(place, error)
        return 1
    else:
        report_outcome(place, metrics)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
