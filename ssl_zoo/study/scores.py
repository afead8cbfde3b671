"""results.csv: what evaluate.py wrote under each reading of the ledger. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ssl_zoo.metric_names import IMAGES_SCORED
from ssl_zoo.study.folder import CEILING, FLOOR, METHOD, ORACLE, Score, StudyFolder
from ssl_zoo.study.ledger import READ
from ssl_zoo.types import UserError

SUPERVISED = "supervised"
_TRAINED, _RANDOM = "pretrained", "random init"  # rows of evaluate.py
_CONCATENATED, _SEPARATED = "concatenated", "separated"
_SUPERVISED_BY = "finetune"


def scores_of(folder: StudyFolder, entries: list[dict[str, Any]]) -> list[Score]:
    """The scores of all readings that were done, in the ledger's order.

    Args:
        folder: The study's.
        entries: The ledger's lines.

    Raises:
        UserError: If a file of a reading is gone.
    """
    return [
        score
        for entry in entries
        if entry["status"] == READ
        for suite in entry["suites"]
        for score in _of_suite(folder, entry, suite)
    ]


def result_file(folder: StudyFolder, entry: Mapping[str, Any], suite: str) -> Path:
    """Where evaluate.py wrote a protocol's scores."""
    return folder.path / str(entry["folder"]) / "evaluation" / f"{suite}.json"


def _of_suite(folder: StudyFolder, entry: Mapping[str, Any], suite: str) -> Iterator[Score]:
    file = result_file(folder, entry, suite)
    if not file.is_file():
        raise UserError(f"{file} is gone: test was read as {entry['id']}, and is not read again")
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for name, row in result["rows"].items():
        who = _whose(entry, name, suite)
        if who is None:
            continue
        kind, method, title = who
        counts = result.get("num_images", {})
        numbers = {"test": row.get(IMAGES_SCORED, counts.get("test")), "val": counts.get("val")}
        for metric, value in row.items():
            if isinstance(value, float) and metric.startswith(("test_", "val_")):
                yield Score(
                    kind=kind,
                    method=method,
                    trial=int(entry["trial"]),
                    seed=int(entry["seed"]),
                    suite=title,
                    metric=metric,
                    value=value,
                    num_test=int(numbers[metric.partition("_")[0]] or 0),
                    is_headline=metric == result["headline"],
                    protocol_id=str(row.get("protocol_id", result["protocol_id"])),
                    reading=str(entry["id"]),
                    folder=str(file.relative_to(folder.path)),
                )


def _whose(entry: Mapping[str, Any], row: str, suite: str) -> tuple[str, str, str] | None:
    """Kind, method and suite of a row of evaluate.py; None of one that does not count."""
    purpose, method = str(entry["purpose"]), str(entry["method"])
    if purpose == CEILING:
        return (CEILING, SUPERVISED, suite) if row == _RANDOM else None
    if purpose == FLOOR:
        return (FLOOR, row, suite)
    kind = METHOD if purpose == METHOD else ORACLE
    if row == _TRAINED:
        return kind, method, suite
    if row == _CONCATENATED or row.startswith(_SEPARATED):
        return kind, method, f"{suite}, {row.partition(' ')[0]}"
    return None
