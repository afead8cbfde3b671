"""A run as a line of trials.csv or finals.csv, from what it has left. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from ssl_zoo.metric_names import metric_named
from ssl_zoo.run_folder import ENDED, FAILED, NAN, OUT_OF_MEMORY, RunFolder
from ssl_zoo.study.folder import RERUN, RunRow, read_rows, write_rows

PENDING = "pending"
# Statuses of a run that is not run again, whatever came of it.
DONE = (*ENDED, NAN, OUT_OF_MEMORY, FAILED)
Key = tuple[str, str, int, int, int]


def key_of(row: RunRow) -> Key:
    """What identifies a run in its study."""
    return row.stage, row.method, row.trial, row.seed, row.fold


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def sha_of_file(path: Path) -> str:
    """Of its bytes; "" if it is not there."""
    if not path.is_file():
        return ""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def filled(row: RunRow, run: RunFolder, metric: str) -> RunRow:
    """The line of a run that has ended.

    Args:
        row: As it was planned.
        run: Its folder.
        metric: What the study selects by.
    """
    result = run.read_result()
    facts: dict[str, Any] = result.get("facts", {})
    status = str(result.get("status", FAILED))
    reached = status in ENDED
    return replace(
        row,
        status=status,
        score=_score(run, result, facts, metric) if reached else None,
        data_sha=facts.get("data_sha", ""),
        code=facts.get("code", ""),
        versions=json.dumps(facts.get("versions", {}), sort_keys=True),
        device=facts.get("device", ""),
        parameters=facts.get("parameters"),
        backbone_parameters=facts.get("backbone_parameters"),
        epochs=facts.get("epochs"),
        steps=facts.get("steps"),
        images_seen=facts.get("images_seen"),
        views_seen=facts.get("views_seen"),
        pixels_seen=facts.get("pixels_seen"),
        seconds=result.get("seconds"),
        peak_mib=facts.get("peak_mib"),
        views_sha=facts.get("views_sha", ""),
        checkpoint_sha=sha_of_file(run.last) if reached else "",
        ended=now(),
    )


def _score(
    run: RunFolder, result: Mapping[str, Any], facts: Mapping[str, Any], metric: str
) -> float | None:
    """The metric at the last step; None if it was not measured there."""
    points = run.read_metrics().get(metric, [])
    steps = facts.get("steps")
    if points and steps is not None and points[-1][0] != steps - 1:
        return None
    value = result.get("metrics", {}).get(metric)
    return None if value is None or not math.isfinite(float(value)) else float(value)


class Ranked(NamedTuple):
    """A configuration of a method, with its score over folds and seeds.

    Attributes:
        trial: Its number.
        values: What it sets, as JSON.
        config_sha: Of its config.
        scores: Of each seed, the mean over its folds.
        score: The mean of all; None if a run had none.
    """

    trial: int
    values: str
    config_sha: str
    scores: list[float]
    score: float | None

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; None with fewer than two."""
        return stdev(self.scores) if len(self.scores) > 1 else None


def ranking(rows: Iterable[RunRow], method: str, metric: str) -> list[Ranked]:
    """A method's configurations, the best first; of equal ones the earlier.

    Args:
        rows: Of hpo and rerun.
        method: Whose.
        metric: That the scores are of.
    """
    by_trial: dict[int, list[RunRow]] = defaultdict(list)
    for row in rows:
        if row.method == method and row.status != PENDING:
            by_trial[row.trial].append(row)
    ranked = [_ranked(trial, one) for trial, one in sorted(by_trial.items())]
    sign = -1 if metric_named(metric).objective == "min" else 1
    scored = [one for one in ranked if one.score is not None]
    return sorted(scored, key=lambda one: -sign * (one.score or 0.0))


def candidates(rows: Sequence[RunRow], method: str, metric: str) -> list[Ranked]:
    """Those that one is selected from: the ones that were run again, if any of them has a score."""
    again = {row.trial for row in rows if row.method == method and row.stage == RERUN}
    every = ranking(rows, method, metric)
    return [one for one in every if one.trial in again] or every


def _ranked(trial: int, rows: Sequence[RunRow]) -> Ranked:
    by_seed: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row.score is None:
            return Ranked(trial, rows[0].values, rows[0].config_sha, [], None)
        by_seed[row.seed].append(row.score)
    scores = [fmean(folds) for _, folds in sorted(by_seed.items())]
    every = [row.score for row in rows if row.score is not None]
    return Ranked(trial, rows[0].values, rows[0].config_sha, scores, fmean(every))


class Table:
    """trials.csv or finals.csv, written whole after each change.

    Args:
        file: The table.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._rows = {key_of(row): row for row in read_rows(file, RunRow)}

    @property
    def rows(self) -> list[RunRow]:
        """In the order in which they were planned."""
        return list(self._rows.values())

    def plan(self, rows: Iterable[RunRow]) -> None:
        """Add the runs that are not there yet."""
        new = {key_of(row): row for row in rows if key_of(row) not in self._rows}
        if new:
            self._rows |= new
            self._write()

    def put(self, row: RunRow) -> None:
        """Replace a run's line."""
        if self._rows[key_of(row)] != row:
            self._rows[key_of(row)] = row
            self._write()

    def drop(self, keys: Iterable[Key]) -> None:
        """Take runs away that will not be."""
        gone = [key for key in keys if self._rows.pop(key, None)]
        if gone:
            self._write()

    def get(self, key: Key) -> RunRow:
        """The line of a run."""
        return self._rows[key]

    def pending(self, *stages: str) -> list[RunRow]:
        """The runs of these stages that have not ended."""
        return [row for row in self.rows if row.stage in stages and row.status == PENDING]

    def _write(self) -> None:
        write_rows(self.file, self.rows, RunRow)
