"""One table of several runs: `python -m ssl_zoo.table SWEEP_OR_RUN ...`. Imports no torch."""

from __future__ import annotations

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":
    end_quietly()

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl_zoo.config import fail, nearest
from ssl_zoo.console import as_number, print_table
from ssl_zoo.metric_names import Metric, metric_named
from ssl_zoo.multirun import sweeps_in
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.summary import (
    Column,
    Job,
    Line,
    Scores,
    best_in_words,
    counted,
    lines_of,
    objective_of_jobs,
    ordered,
    read_jobs,
    read_scores,
    table_of,
    unfinished,
)
from ssl_zoo.types import UserError, listed


def print_runs(
    folders: Sequence[Path],
    metrics: Sequence[str] = (),
    sort: str | None = None,
    by_run: bool = False,
) -> None:
    """Print what runs scored: in training, and on test where evaluate.py has scored them.

    A line is a setting, its scores the mean and s over seeds; where only single runs are given, a
    line is a run.

    Args:
        folders: Sweeps, runs, or any folders of runs or of results of evaluate.py.
        metrics: Names of columns; none = what the runs are chosen by, and each protocol's headline.
        sort: A column, which is then best first, or a knob; None = as in the folders.
        by_run: A line for each run of a sweep too.

    Raises:
        UserError: If a folder holds no results, or a name is not known.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give a run's, or a sweep's")
    jobs = read_jobs(folders)
    _check(folders, jobs)
    inside = [sweep for folder in folders for sweep in sweeps_in(folder)]
    scores = read_scores(jobs, dict.fromkeys([*folders, *inside]))
    found = [job.metrics | row for job, row in zip(jobs, scores.of_jobs, strict=True)]
    by_run = by_run or {job.folder.path for job in jobs} <= set(folders)
    lines = lines_of(jobs, found, by_run)
    objective = objective_of_jobs(jobs)
    logged = {name for job in jobs for name in job.metrics}
    # what no run of training has is a score of evaluate.py
    named = list(metrics) or [objective.name] * (objective.name in logged) + scores.headlines
    known = _known([*found, *scores.beside.values()])
    columns = [Column(_checked("--metric", name, known), _is_share(name, logged)) for name in named]
    lines = _sorted(lines, sort, known, logged)
    beside = {
        name: row
        for name, row in scores.beside.items()
        if any(column.name in row for column in columns)
    }
    if jobs:
        within = f", with sweeps in it: {listed([path.name for path in inside])}" if inside else ""
        print(f"{listed([str(folder) for folder in folders])}{within}: {counted(jobs)}")
    print_table("", *table_of(lines, columns, beside, by_run))
    first = objective if not columns else _metric(columns[0].name, logged)
    if (best := best_in_words(lines, first)) and not by_run:
        print(best)
    _print_notes(jobs, scores)


def _check(folders: Sequence[Path], jobs: Sequence[Job]) -> None:
    """Refuse folders that hold nothing."""
    paths = [job.folder.path for job in jobs]
    holding = {place for path in paths for place in (path, path.parent, path.parent.parent)}
    for folder in folders:
        if folder not in holding and not any(RunFolder(folder).evaluation.glob("*.json")):
            raise UserError(f"{folder} holds no run: give the folder of a run, or of a sweep")


def _known(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _checked(flag: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise UserError(f"{flag} {name}: no run has it: {nearest(name, known)}")
    return name


def _metric(name: str, logged: set[str]) -> Metric:
    """A column's metric; scores of evaluate.py are shares, and higher is better."""
    return metric_named(name) if name in logged else Metric(name, name, "", True, "max")


def _is_share(name: str, logged: set[str]) -> bool:
    return _metric(name, logged).is_share


def _sorted(
    lines: list[Line], by: str | None, known: Sequence[str], logged: set[str]
) -> list[Line]:
    """By a column, the best first, or by a knob."""
    if by is None or not lines:
        return lines
    if by in lines[0].values:

        def place(line: Line) -> tuple[bool, float, str]:
            number = as_number(line.values[by])
            return number is None, number or 0.0, line.values[by]

        return sorted(lines, key=place)
    _checked("--sort", by, [*known, *lines[0].values])
    return ordered(lines, _metric(by, logged))


def _print_notes(jobs: Sequence[Job], scores: Scores) -> None:
    if scores.split:
        print(
            f"{listed(scores.split)}: scores with different ids were made with other settings, on "
            "other data or images of other size, and are not comparable"
        )
    for problem in unfinished(jobs):
        print(problem)
    killed = [
        job.name
        for job, row in zip(jobs, scores.of_jobs, strict=True)
        if row and job.folder.unfinished()
    ]
    if killed:
        print(f"{listed(killed)}: scored as the last checkpoint that was saved")


def main() -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl_zoo.table",
        description="Print what runs scored, in training and on test where evaluate.py has scored "
        "them: a line for each setting of a sweep, with the mean and s over its seeds, or for each "
        "of several runs. Scores that are not comparable are in columns of their own.",
        epilog="examples: python -m ssl_zoo.table runs/SWEEP --sort val/knn_top1; "
        "python -m ssl_zoo.table runs/A runs/B --metric knn,linear,knn/test_top5",
    )
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="of a sweep or run")
    parser.add_argument(
        "--metric", metavar="NAME", action="append", default=[], help="a column, or several: A,B"
    )
    parser.add_argument("--sort", metavar="NAME", help="by a column, best first, or by a knob")
    parser.add_argument("--runs", action="store_true", help="a line for each run of a sweep")
    args = parser.parse_args()
    metrics = [name for given in args.metric for name in given.split(",") if name]
    try:
        print_runs(args.folders, metrics, args.sort, args.runs)
    except UserError as error:
        fail(error)


if __name__ == "__main__":
    main()
