"""Runs beside each other as tables: their settings, the spread over seeds. Imports no torch."""

from ssl_zoo.summary.jobs import Job, objective_of_jobs, read_jobs
from ssl_zoo.summary.lines import Line, best_of, lines_of, ordered
from ssl_zoo.summary.scores import Scores, read_scores
from ssl_zoo.summary.texts import (
    FINISHED,
    RUNNING,
    Column,
    as_csv,
    as_markdown,
    best_in_words,
    counted,
    table_of,
    unfinished,
)

__all__ = [
    "FINISHED",
    "RUNNING",
    "Column",
    "Job",
    "Line",
    "Scores",
    "as_csv",
    "as_markdown",
    "best_in_words",
    "best_of",
    "counted",
    "lines_of",
    "objective_of_jobs",
    "ordered",
    "read_jobs",
    "read_scores",
    "table_of",
    "unfinished",
]
