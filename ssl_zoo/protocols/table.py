"""One table of the scores of several runs: `python -m ssl_zoo.protocols.table RUN ...`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_zoo.config import fail
from ssl_zoo.console import print_table
from ssl_zoo.metric_names import MAJORITY_SHARE
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.types import UserError

_MAJORITY = "always test's most frequent class"


def print_scores(runs: Sequence[Path]) -> None:
    """Print each protocol's headline for each row of the runs' evaluation folders.

    Raises:
        UserError: If a folder holds no results, or scores of one protocol were made with different
            settings or on different data.
    """
    columns: dict[str, str] = {}
    rows: dict[str, dict[str, str]] = {}
    majority: dict[str, str] = {}
    for run in runs:
        files = sorted(RunFolder(run).evaluation.glob("*.json"))
        if not files:
            raise UserError(f"{run} holds no evaluation/*.json: run evaluate.py ckpt={run}")
        for path in files:
            result = json.loads(path.read_text())
            if result["headline"].startswith("test_"):  # embed has no score
                for name, scores in result["rows"].items():
                    row_id = scores.get("protocol_id", result["protocol_id"])
                    _check_id(columns, path, name, row_id)
                    row = f"{run.name}: {name}" if len(runs) > 1 else name
                    rows.setdefault(row, {})[path.stem] = _percent(scores, result["headline"])
                    if MAJORITY_SHARE in scores:  # the same for all, as the id is
                        majority[path.stem] = _percent(scores, MAJORITY_SHARE)
    if majority:
        rows[_MAJORITY] = majority
    table = [[row, *(cells.get(column, "") for column in columns)] for row, cells in rows.items()]
    print_table("on test, %", ["", *columns], table)
    for run in runs:
        if unfinished := RunFolder(run).unfinished():
            print(unfinished)


def _check_id(columns: dict[str, str], path: Path, row: str, new: str) -> None:
    """Refuse scores that are not comparable."""
    old = columns.setdefault(path.stem, new)
    if old != new:
        raise UserError(
            f"{path}: {row} has protocol id {new}, another row has {old}: they differ in settings, "
            "data or size and crop of images and do not belong in one column; evaluate both the "
            "same way"
        )


def _percent(scores: dict[str, Any], headline: str) -> str:
    value = scores.get(headline)
    return "" if value is None else f"{100 * value:.1f}"


def main() -> None:
    """The command line; bad input gives one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        description="Print each protocol's headline on test for the rows of runs; scores that are "
        "not comparable are refused.",
        epilog="example: python -m ssl_zoo.protocols.table runs/A runs/B",
    )
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="a run folder")
    try:
        print_scores(parser.parse_args().runs)
    except UserError as error:
        fail(error)


if __name__ == "__main__":
    main()
