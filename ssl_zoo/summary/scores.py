"""What evaluate.py wrote for runs, as the columns of a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_zoo.metric_names import MAJORITY_SHARE
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.summary.jobs import Job
from ssl_zoo.writing import read_json

_OWN_ROW = "pretrained"  # of a file that is about one backbone
_MAJORITY = "always test's most frequent class"


class Scored(NamedTuple):
    """Which score a number is: those with different ids are not comparable.

    Attributes:
        file: The file's stem: the protocol, and what else distinguishes it.
        score: The key in a row.
        id: The row's protocol id.
    """

    file: str
    score: str
    id: str


Row = dict[Scored, float]


class Scores(NamedTuple):
    """The scores of several runs.

    Attributes:
        of_jobs: For each run, by column.
        beside: Rows of what is no run of these, such as random weights.
        headlines: The columns that are shown if none is chosen.
        split: Columns' files of which there are several, since protocol ids differ.
    """

    of_jobs: list[dict[str, float]]
    beside: dict[str, dict[str, float]]
    headlines: list[str]
    split: list[str]


def read_scores(jobs: Sequence[Job], folders: Iterable[Path]) -> Scores:
    """The scores in the evaluation folders of runs, and of the folders that hold them.

    Args:
        jobs: The runs.
        folders: Where they were found; also those of evaluate.py that belong to no run.
    """
    headlines: dict[Scored, None] = {}
    own: list[Row] = [{} for _ in jobs]
    beside: list[tuple[str, str, Row]] = []  # name, of which folder
    for job, row in zip(jobs, own, strict=True):
        rows = _rows(job.folder, headlines)
        row |= rows.pop(_OWN_ROW, {})
        beside += [(name, job.name, scores) for name, scores in rows.items()]
    runs = {job.folder.path.resolve(): row for job, row in zip(jobs, own, strict=True)}
    for folder in folders:
        if folder.resolve() in runs:
            continue
        for name, scores in _rows(RunFolder(folder), headlines).items():
            member = runs.get((folder / name).resolve())
            if member is None:  # of a source that is no run, or of several runs together
                place = folder.resolve().name
                beside.append((place if name == _OWN_ROW else name, place, scores))
            else:
                member |= scores
    columns = [*own, *(row for _, _, row in beside), dict.fromkeys(headlines, 0.0)]
    titles = _titles(list(dict.fromkeys(key for row in columns for key in row)), headlines)
    return Scores(
        of_jobs=[_titled(row, titles) for row in own],
        beside={name: _titled(row, titles) for name, row in _merged(beside).items()},
        headlines=[titles[key] for key in headlines],
        split=[file for file in _files(headlines) if _ids(headlines, file) > 1],
    )


def _rows(folder: RunFolder, headlines: dict[Scored, None]) -> dict[str, Row]:
    """The rows of a folder's files, by name; notes the headlines."""
    found: dict[str, Row] = {}
    for path in sorted(folder.evaluation.glob("*.json")):
        result = read_json(path)
        headline = str(result.get("headline", ""))
        if not headline.startswith("test_"):  # embed has no score, and a file of the user's none
            continue
        for name, scores in result["rows"].items():
            row_id = scores.get("protocol_id", result["protocol_id"])
            numbers = {k: v for k, v in scores.items() if _is_score(k, v)}
            row = {Scored(path.stem, key, row_id): value for key, value in numbers.items()}
            found.setdefault(name, {}).update(row)
            if MAJORITY_SHARE in scores:
                share = {Scored(path.stem, headline, row_id): scores[MAJORITY_SHARE]}
                found.setdefault(_MAJORITY, {}).update(share)
            headlines |= {key: None for key in row if key.score == headline}
    return found


def _is_score(key: str, value: Any) -> bool:
    if key == MAJORITY_SHARE:  # a row of its own
        return False
    return isinstance(value, float) and key.startswith(("test_", "val_"))


def _titles(columns: Sequence[Scored], headlines: Iterable[Scored]) -> dict[Scored, str]:
    """knn, or knn/test_top5; with the id where there are several."""
    chosen = set(headlines)
    titles = {}
    for one in columns:
        title = one.file if one in chosen else f"{one.file}/{one.score}"
        titles[one] = title if _ids(columns, one.file) == 1 else f"{title} ({one.id})"
    return titles


def _files(columns: Iterable[Scored]) -> list[str]:
    return list(dict.fromkeys(one.file for one in columns))


def _ids(columns: Iterable[Scored], file: str) -> int:
    return len({one.id for one in columns if one.file == file})


def _titled(row: Row, titles: dict[Scored, str]) -> dict[str, float]:
    return {titles[key]: value for key, value in row.items()}


def _merged(rows: Sequence[tuple[str, str, Row]]) -> dict[str, Row]:
    """Rows of one name that agree are one; others say of which folder they are."""
    found: list[tuple[str, str, Row]] = []
    for name, place, row in rows:
        for other, _, merged in found:
            shared = merged.keys() & row.keys()
            if other == name and shared and all(merged[key] == row[key] for key in shared):
                merged.update(row)
                break
        else:
            found.append((name, place, dict(row)))
    names = [name for name, _, _ in found]
    return {
        name if names.count(name) == 1 else f"{name} ({place})": row for name, place, row in found
    }
