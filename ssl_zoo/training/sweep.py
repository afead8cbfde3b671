"""The summary of a multirun: summary.csv, .md and .png, printed at its end. Imports no torch."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from ssl_zoo.console import print_table
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.metric_names import Metric
from ssl_zoo.multirun import results_in, sampled_in_log, varied
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.summary import (
    RUNNING,
    Column,
    Job,
    Line,
    as_csv,
    as_markdown,
    best_in_words,
    counted,
    lines_of,
    objective_of_jobs,
    ordered,
    read_jobs,
    table_of,
    unfinished,
)
from ssl_zoo.writing import write_atomically, write_text

_MOST_LINES = 20  # of the table that is printed


class SweepSummary(Callback):
    """Enters the jobs that failed before they had a result; the others enter themselves.

    At the end it prints the summary, also of a sweep that ends with an error or by Ctrl-C, of which
    Hydra tells no callback; but not of one that was refused, as a search may be that goes on.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        atexit.register(_at_end, folder, os.getpid(), results_in(folder))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        atexit.unregister(_at_end)
        _at_end(Path(config.hydra.sweep.dir), os.getpid())

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        kept = getattr(job_return._return_value, "kept", False)  # by the run that failed
        failed = job_return.status == JobStatus.FAILED and not kept
        if config.hydra.mode.name == "MULTIRUN" and failed and is_rank_zero():
            folder = Path(config.hydra.sweep.dir)
            _keep_failure(RunFolder(folder / config.hydra.sweep.subdir), config, job_return)
            summarize(folder)


def _keep_failure(job: RunFolder, config: DictConfig, job_return: JobReturn) -> None:
    """A result.json for a job that failed before it could write its own.

    One that is there is the job's own, or that of another run, which the job was refused for; but
    for that of an earlier try, which had failed in the same way.
    """
    if job.result.exists() and not job.came_to_nothing():
        return
    result = {
        "name": config.name,
        "overrides": list(job_return.overrides or []),
        "seed": config.seed,
        "objective": config.get("objective"),
        "seconds": 0.0,
        "metrics": {},
    }
    job.result.unlink(missing_ok=True)
    job.fail(str(job_return._return_value), otherwise=result)


def _at_end(
    folder: Path, process: int, before: list[tuple[str, dict[str, Any]]] | None = None
) -> None:
    """Summarize and print, in the process that started the jobs; nothing if that changed nothing.

    Args:
        folder: The sweep's.
        process: The one that started the jobs.
        before: What its runs had left by then; None: print in any case.
    """
    if os.getpid() != process or not is_rank_zero() or not folder.is_dir():
        return
    if results_in(folder) == before:
        return
    summarize(folder)  # jobs that were killed could not
    jobs = _ended(read_jobs([folder]))
    if not jobs:
        return
    objective, lines = objective_of_jobs(jobs), lines_of(jobs)
    shown = lines if len(lines) <= _MOST_LINES else ordered(lines, objective)[:_MOST_LINES]
    print(f"{folder}: {counted(jobs)}")
    print_table("", *table_of(shown, [Column.of(objective)]))
    if len(shown) < len(lines):
        print(f"the first {len(shown)} of {len(lines)} settings")
    if best := best_in_words(lines, objective):
        print(best)
    for problem in unfinished(jobs):
        print(problem)
    print(f"summary: {folder / 'summary.md'}")


def summarize(folder: Path) -> None:
    """Write summary.csv, .md and .png from the result.json of each job in a sweep's folder.

    Several jobs may end at once. Who has written looks again, so that the last one leaves all.
    """
    seen = None
    while seen != (seen := results_in(folder)):
        _write_summary(folder)


def _ended(jobs: list[Job]) -> list[Job]:
    """Not those that run, since a file would say so still when they are killed."""
    return [job for job in jobs if job.status != RUNNING]


def _write_summary(folder: Path) -> None:
    began = read_jobs([folder])
    jobs = _ended(began)
    if not jobs:
        return
    objective, keys = objective_of_jobs(jobs), varied([job.settings for job in began])
    lines = lines_of(jobs, began=began)
    write_text(folder / "summary.csv", as_csv(jobs, keys, objective))
    write_text(
        folder / "summary.md", as_markdown(folder.name, jobs, lines, objective, "summary.png")
    )
    _draw(folder, lines, objective)


def _draw(folder: Path, lines: list[Line], objective: Metric) -> None:
    from ssl_zoo.figures import Swept, draw_sweep  # matplotlib

    scale = 100 if objective.is_share else 1
    settings = []
    for line in lines:
        spread = line.spread(objective.name)
        interval = spread and spread.interval
        one = Swept(
            values=line.values,
            scores=[scale * score for score in line.of(objective.name)],
            mean=None if spread is None else scale * spread.mean,
            interval=interval and (scale * interval[0], scale * interval[1]),
            runs=len(line.jobs),
        )
        settings.append(one)
    label = Column.of(objective).title
    figure = draw_sweep(settings, label, objective.objective == "min", sampled_in_log(folder))
    write_atomically(
        folder / "summary.png",
        lambda file: figure.savefig(file, format="png", dpi=120, bbox_inches="tight"),
    )
