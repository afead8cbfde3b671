"""A process of a run on several devices, from its frozen config: started by `launcher`.

`python -m ssl_zoo.training.job FOLDER`, where FOLDER holds the launcher's job.yaml.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from ssl_zoo.callbacks import Interrupted
from ssl_zoo.config import naming_knobs, register_resolvers
from ssl_zoo.console import quiet_lightning
from ssl_zoo.hardware import keep_freed_memory
from ssl_zoo.stopping import STOPPING
from ssl_zoo.training.launcher import Job, report_outcome
from ssl_zoo.training.run import train_here
from ssl_zoo.types import UserError


def main(place: Path) -> int:
    """Train as one rank, report to the launcher, and return the exit code."""
    job = Job.read(place)
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    for signum in STOPPING:  # no traceback where nothing can be saved yet
        signal.signal(signum, signal.SIG_DFL)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ssl_zoo").setLevel(job.log_level)
    quiet_lightning()
    keep_freed_memory()
    register_resolvers()
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


def _end_with_launcher() -> None:
    """End this process when the launcher does, however that ends: its end of the pipe closes."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
