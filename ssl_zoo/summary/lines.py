"""The lines of a table: a setting each, with the runs that differ in nothing but their seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ssl_zoo.metric_names import Metric
from ssl_zoo.multirun import Spread, by_setting, spread_of, varied
from ssl_zoo.run_folder import ENDED
from ssl_zoo.summary.jobs import Job


class Best(NamedTuple):
    """The line of the best mean.

    Attributes:
        line: The first of them.
        equal: How many others have the same mean.
        overlapping: How many others have an interval that overlaps its own.
    """

    line: Line
    equal: int
    overlapping: int


class Line(NamedTuple):
    """A setting.

    Attributes:
        values: What it is, by knob.
        jobs: Its runs.
        scores: What each of them scored, by column.
    """

    values: dict[str, str]
    jobs: list[Job]
    scores: list[Mapping[str, float]]

    def of(self, column: str) -> list[float]:
        """The scores of the runs that have one."""
        return [one[column] for one in self.scores if column in one]

    def spread(self, column: str) -> Spread | None:
        """Their spread over seeds; None if no run has a score."""
        values = self.of(column)
        return spread_of(values) if values else None


def lines_of(
    jobs: Sequence[Job],
    scores: Sequence[Mapping[str, float]] | None = None,
    by_run: bool = False,
    began: Iterable[Job] = (),
) -> list[Line]:
    """A line for each setting, in the order of their first runs.

    The scores of a run that did not reach its last step, such as one that was pruned, are not
    comparable with those of its seeds, and enter no mean.

    Args:
        jobs: The runs.
        scores: By run and column; None = the metrics of training.
        by_run: A line for each run instead, where the seed is a setting like any other.
        began: Other runs, which only count for what is varied.
    """
    found = [job.metrics for job in jobs] if scores is None else list(scores)
    settings = [job.settings for job in jobs]
    keys = varied([*settings, *(job.settings for job in began)])
    if by_run:
        rows = ({key: one.get(key, "") for key in keys} for one in settings)
        return [Line(v, [j], [s]) for v, j, s in zip(rows, jobs, found, strict=True)]
    found = [row if job.status in ENDED else {} for job, row in zip(jobs, found, strict=True)]
    return [
        Line(values, [jobs[i] for i in runs], [found[i] for i in runs])
        for values, runs in by_setting(settings, keys)
    ]


def best_of(lines: Sequence[Line], metric: Metric) -> Best | None:
    """The line of the best mean; None if no line has a score."""
    spreads = [(line, spread) for line in lines if (spread := line.spread(metric.name))]
    if not spreads:
        return None
    sign = 1 if metric.objective == "max" else -1
    best, spread = max(spreads, key=lambda one: sign * one[1].mean)
    others = [other for line, other in spreads if line is not best]
    equal = sum(other.mean == spread.mean for other in others)
    if spread.interval is None:
        return Best(best, equal, 0)
    low, high = spread.interval
    ends = [other.interval for other in others if other.interval]
    return Best(best, equal, sum(start <= high and low <= end for start, end in ends))


def ordered(lines: Sequence[Line], metric: Metric) -> list[Line]:
    """The best mean first; those without a score last."""
    sign = -1 if metric.objective == "max" else 1

    def place(line: Line) -> tuple[bool, float]:
        spread = line.spread(metric.name)
        return spread is None, 0.0 if spread is None else sign * spread.mean

    return sorted(lines, key=place)
