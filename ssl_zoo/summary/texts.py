"""A table of runs as texts: for the console, as CSV and as Markdown."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import NamedTuple

from ssl_zoo.console import short_values
from ssl_zoo.metric_names import METRICS, Metric, metric_named
from ssl_zoo.multirun import Spread
from ssl_zoo.summary.jobs import Job
from ssl_zoo.summary.lines import Best, Line, best_of

FINISHED, RUNNING = "finished", "running"
_FEW = 6  # runs whose names are all shown
_LONGEST = 40  # letters of a setting's value in a table


class Column(NamedTuple):
    """A column of scores.

    Attributes:
        name: As it is asked for.
        is_share: Whether it is shown in %.
    """

    name: str
    is_share: bool

    @classmethod
    def of(cls, metric: Metric) -> Column:
        """The column of a metric of training."""
        return cls(metric.name, metric.is_share)

    @property
    def title(self) -> str:
        return f"{self.name}, %" if self.is_share else self.name

    def number(self, value: float) -> str:
        """A score as a person reads it, without its unit."""
        if self.is_share:
            return f"{100 * value:.1f}"
        return f"{value:.3f}" if 0.01 <= abs(value) < 1e3 or value == 0 else f"{value:.3g}"

    def mean(self, spread: Spread | None) -> str:
        """61.3 ± 0.4."""
        if spread is None:
            return ""
        s = "" if spread.s is None else f" ± {self.number(spread.s)}"
        return f"{self.number(spread.mean)}{s}"

    def interval(self, spread: Spread | None) -> str:
        """60.3 to 62.3; empty for a single run."""
        if spread is None or spread.interval is None:
            return ""
        return " to ".join(self.number(end) for end in spread.interval)


# ---- rows ----


def table_of(
    lines: Sequence[Line],
    columns: Sequence[Column],
    beside: Mapping[str, Mapping[str, float]] | None = None,
    by_run: bool = False,
) -> tuple[list[str], list[list[str]]]:
    """The titles and the rows of a table.

    Args:
        lines: Settings, or runs.
        columns: The scores; of the first one the interval too, and n.
        beside: Rows that are no runs, such as random weights.
        by_run: Whether a line is a run: then its status is shown, and no spread.
    """
    knobs = _knobs(lines)
    ends = by_run and any(job.status != FINISHED for line in lines for job in line.jobs)
    third = ["status"] if ends else [] if by_run else ["n"]

    def cells(scores: Sequence[str], interval: str) -> list[str]:
        return [*scores[:1], *([] if by_run else [interval]), *scores[1:]] if scores else []

    titles = cells([column.title for column in columns], "95% interval")
    head = ["" if by_run else "runs", *knobs, *third, *titles]
    rows = []
    for line, values in zip(lines, _values(lines, knobs), strict=True):
        spreads = [line.spread(column.name) for column in columns]
        means = [column.mean(spread) for column, spread in zip(columns, spreads, strict=True)]
        interval = columns[0].interval(spreads[0]) if columns else ""
        count = [line.jobs[0].status] if ends else [] if by_run else [_count(line, columns)]
        names = _few([job.name for job in line.jobs])
        rows.append([names, *values, *count, *cells(means, interval)])
    for name, scores in (beside or {}).items():
        numbers = [c.number(scores[c.name]) if c.name in scores else "" for c in columns]
        rows.append([name, *[""] * len([*knobs, *third]), *cells(numbers, "")])
    return head, rows


def _count(line: Line, columns: Sequence[Column]) -> str:
    """How many scores the mean is of, and of how many runs where some have none."""
    runs = len(line.jobs)
    scored = len(line.of(columns[0].name)) if columns else runs
    return str(runs) if scored == runs else f"{scored} of {runs}"


def _knobs(lines: Sequence[Line]) -> list[str]:
    return list(lines[0].values) if lines else []


def _values(lines: Sequence[Line], knobs: Sequence[str]) -> list[list[str]]:
    """Each line's values, numbers short."""
    by_knob = [short_values([line.values[knob] for line in lines]) for knob in knobs]
    return [[_cut(values[i]) for values in by_knob] for i in range(len(lines))]


def _cut(text: str) -> str:
    """A long value's end, where paths and names differ."""
    return text if len(text) <= _LONGEST else f"…{text[1 - _LONGEST :]}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _FEW else f"{names[0]}, {names[1]} ... {names[-1]}"


# ---- sentences ----


def counted(jobs: Sequence[Job]) -> str:
    """6 runs: 4 finished, 2 failed."""
    statuses = [job.status for job in jobs]
    counts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)]
    return f"{_runs(len(jobs))}: {', '.join(counts)}"


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"


def best_in_words(lines: Sequence[Line], metric: Metric) -> str:
    """Which setting is best, with its interval and n; "" if no run has a score."""
    found = best_of(lines, metric)
    spread = found and found.line.spread(metric.name)
    if not found or not spread:
        return ""
    line = found.line
    column = Column.of(metric)
    unit = "%" if metric.is_share else ""
    score = f"{metric.name} {column.number(spread.mean)}{unit}"
    if spread.interval is None:
        means = f"({_n(line, column)}: one run says nothing about the spread)"
    else:
        means = f"(95% interval {column.interval(spread)}, {_n(line, column)})"
    if len(lines) == 1:
        return f"{score} {means}"
    scored = sum(bool(one.of(metric.name)) for one in lines)
    which = f"{'highest' if metric.objective == 'max' else 'lowest'} of {scored} settings"
    which = f"only 1 of {len(lines)} settings has a score" if scored == 1 else which
    knobs = _knobs(lines)
    values = _values(lines, knobs)[list(lines).index(line)]
    setting = " ".join(f"{k}={v}" for k, v in zip(knobs, values, strict=True) if v)
    return f"{which}: {setting}: {score} {means}{_rivals(found)}"


def _rivals(best: Best) -> str:
    """How many other settings may be as good."""
    if best.equal:
        return f"; {best.equal} more {'has' if best.equal == 1 else 'have'} the same mean"
    if best.overlapping == 1:
        return "; the interval of 1 other overlaps it"
    return f"; the intervals of {best.overlapping} others overlap it" if best.overlapping else ""


def _n(line: Line, column: Column) -> str:
    return f"n = {_count(line, [column])}"


def unfinished(jobs: Sequence[Job]) -> list[str]:
    """The runs with another end, and why: each reason once."""
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        if job.status != FINISHED:
            groups.setdefault((job.status, job.error), []).append(job)
    return [
        f"{status}: {_few([job.name for job in group])}{f': {error}' if error else ''}"
        for (status, error), group in groups.items()
    ]


# ---- files ----


def as_csv(jobs: Sequence[Job], knobs: Sequence[str], objective: Metric) -> str:
    """A row for each run: the objective first among its metrics, values as typed."""
    logged = {name for job in jobs for name in job.metrics}
    metrics = [objective.name, *sorted(logged - {objective.name})]
    text = StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["job", "status", *knobs, *metrics, "seconds", "error"])
    for job in jobs:
        values = [job.settings.get(knob, "") for knob in knobs]
        scores = [job.metrics.get(metric, "") for metric in metrics]
        table.writerow([job.name, job.status, *values, *scores, job.seconds, job.error])
    return text.getvalue()


def as_markdown(
    name: str, jobs: Sequence[Job], lines: Sequence[Line], objective: Metric, picture: str
) -> str:
    """The summary of a sweep: its settings, their spread over seeds, and what did not finish."""
    head, rows = _spread_table(lines, objective)
    parts = [f"# {name}", f"{counted(jobs)}.", _pipes(head, rows)]
    if best := best_in_words(lines, objective):
        parts.append(f"{best[0].upper()}{best[1:]}.")
    notes = "s is the sample standard deviation over seeds, the interval Student's t over them"
    parts += [f"n runs each; {notes}.", f"![{objective.name} of each setting]({picture})"]
    if problems := unfinished(jobs):
        parts += [
            "## How the other runs ended",
            "\n".join(f"- {_escaped(line)}" for line in problems),
        ]
    logged = {key for job in jobs for key in job.metrics} - {objective.name}
    others = [Column.of(m) for m in METRICS if m.name in logged]
    others += [Column.of(metric_named(one)) for one in sorted(logged - {m.name for m in METRICS})]
    if others:
        knobs = _knobs(lines)
        rows = [
            [*values, *(column.mean(line.spread(column.name)) for column in others)]
            for line, values in zip(lines, _values(lines, knobs), strict=True)
        ]
        head = [*knobs, *(column.title for column in others)]
        parts += ["## Other metrics, mean ± s", _pipes(head, rows)]
    return "\n\n".join(parts) + "\n"


def _spread_table(lines: Sequence[Line], objective: Metric) -> tuple[list[str], list[list[str]]]:
    """Settings, mean, s, n, interval, runs."""
    column, knobs = Column.of(objective), _knobs(lines)
    rows = []
    for line, values in zip(lines, _values(lines, knobs), strict=True):
        spread = line.spread(objective.name)
        mean = "" if spread is None else column.number(spread.mean)
        s = "" if spread is None or spread.s is None else column.number(spread.s)
        names = _few([job.name for job in line.jobs])
        rows.append([*values, mean, s, _count(line, [column]), column.interval(spread), names])
    return [*knobs, column.title, "s", "n", "95% interval", "runs"], rows


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, cells))} |" for cells in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
