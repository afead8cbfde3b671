"""The names in a study's folder, and its records. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ssl_zoo.types import UserError
from ssl_zoo.writing import write_text

# Stages of a run, in their order; kinds of what is scored on test.
HPO, RERUN, FINAL, CEILING = ("hpo", "rerun", "final", "ceiling")
METHOD, FLOOR, ORACLE = ("method", "floor", "oracle")


@dataclass(frozen=True)
class RunRow:
    """A run of a study: one seed of one trial, on one fold; a line of trials.csv or finals.csv.

    Attributes:
        stage: hpo, rerun, final or ceiling.
        method: By its name in the study file.
        trial: Whose values it has; -1 for the ceiling.
        seed: Of the run.
        fold: Of a cross-validation; 0 without one.
        values: What the trial set, by knob, as JSON.
        score: The selection's metric, on val, at the last step; None of a run without one.
        status: As in result.json, or "pending".
        folder: The run's, below the study's.
        config_sha: Of the resolved config without places and seed.
        held_sha: Of what must be equal over methods.
        data_sha: Of the images, their labels and their split.
        code: Commit or version of ssl_zoo, with a hash of the differences of a checkout with any.
        versions: Of the libraries, as JSON.
        device: Its name.
        parameters: Of the method.
        backbone_parameters: Of its backbone.
        epochs: Trained.
        steps: Of the optimizer.
        images_seen: Source images drawn.
        views_seen: Forwarded crops of them.
        pixels_seen: Of these.
        seconds: Of training.
        peak_mib: Memory; None where not measured.
        views_sha: Of the first batches' augmented views, which must differ over seeds.
        checkpoint_sha: Of last.ckpt.
        started: ISO 8601, UTC.
        ended: ISO 8601, UTC.
    """

    stage: str
    method: str
    trial: int
    seed: int
    fold: int = 0
    values: str = "{}"
    score: float | None = None
    status: str = "pending"
    folder: str = ""
    config_sha: str = ""
    held_sha: str = ""
    data_sha: str = ""
    code: str = ""
    versions: str = "{}"
    device: str = ""
    parameters: int | None = None
    backbone_parameters: int | None = None
    epochs: int | None = None
    steps: int | None = None
    images_seen: int | None = None
    views_seen: int | None = None
    pixels_seen: int | None = None
    seconds: float | None = None
    peak_mib: float | None = None
    views_sha: str = ""
    checkpoint_sha: str = ""
    started: str = ""
    ended: str = ""


@dataclass(frozen=True)
class Score:
    """A number on test or val of one final run, floor, ceiling or oracle; a line of results.csv.

    Attributes:
        kind: method, floor, ceiling or oracle.
        method: Its name, such as simclr, "random init", "raw pixels" or "supervised".
        trial: Whose configuration it has; -1 without one.
        seed: Of the run.
        suite: The protocol, such as knn; of folds "retrieval, separated", "..., concatenated".
        metric: As in evaluate.py's JSON, such as test_top1.
        value: The score.
        num_test: Images that it is a mean over.
        is_headline: Whether it is the protocol's headline.
        protocol_id: Scores with different ids do not belong in one column.
        reading: The id of the line of ledger.jsonl under which test was read.
        folder: Of the JSON that it was read from, below the study's.
    """

    kind: str
    method: str
    trial: int
    seed: int
    suite: str
    metric: str
    value: float
    num_test: int
    is_headline: bool
    protocol_id: str
    reading: str
    folder: str


Row = TypeVar("Row", RunRow, Score)


class StudyFolder:
    """The files of a study, for writing and for reading.

    Args:
        path: The folder, which need not exist.

    Attributes:
        settings: study.yaml: the study's settings, complete, with the command line above them.
        plan: plan.json: what was composed, measured and counted before anything was trained.
        configs: A resolved config for each method, METHOD.yaml.
        images: A line "SPLIT SHA LABEL" for each image that the plan has hashed.
        trials: trials.csv: the runs of hpo and rerun; sealed with the selection.
        selection: selection.json: the configuration that each method goes on with.
        finals: finals.csv: the runs of final and ceiling.
        ledger: ledger.jsonl: a line for each time that test was opened, appended to.
        budget: budget.json: of a study with a budget, what it has spent and what was cut.
        results: results.csv: what evaluate.py found on test.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings = self.path / "study.yaml"
        self.plan = self.path / "plan.json"
        self.configs = self.path / "plan"
        self.images = self.configs / "images.txt"
        self.trials = self.path / "trials.csv"
        self.selection = self.path / "selection.json"
        self.finals = self.path / "finals.csv"
        self.ledger = self.path / "ledger.jsonl"
        self.results = self.path / "results.csv"
        self.budget = self.path / "budget.json"

    def __str__(self) -> str:
        return str(self.path)

    def read_json(self, file: Path) -> dict[str, Any]:
        """plan.json or selection.json; empty if it is not there.

        Raises:
            UserError: If it was cut short, or edited into something else.
        """
        if not file.is_file():
            return {}
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file} is not JSON: {error}; restore it") from error
        if not isinstance(found, dict):
            raise UserError(f"{file} holds a {type(found).__name__}; restore it")
        return found

    def write_json(self, file: Path, content: Mapping[str, Any]) -> None:
        """Write plan.json or selection.json."""
        write_text(file, json.dumps(dict(content), indent=2) + "\n")

    def read_ledger(self) -> list[dict[str, Any]]:
        """The lines of ledger.jsonl, one of which a kill may have cut short."""
        lines = (
            self.ledger.read_text(encoding="utf-8").splitlines() if self.ledger.is_file() else []
        )
        found = []
        for i, line in enumerate(lines):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                if i + 1 < len(lines):
                    raise UserError(f"{self.ledger}: line {i + 1} is not JSON") from error
        return found


def read_rows(file: Path, kind: type[Row]) -> list[Row]:
    """The rows of trials.csv, finals.csv or results.csv; none if it is not there.

    Raises:
        UserError: If a column or a value is not what the kind has.
    """
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as text:
        lines = list(csv.DictReader(text))
    try:
        return [_row(line, kind) for line in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is not a table of {kind.__name__}s: {error}") from error


def _row(line: Mapping[str, str], kind: type[Row]) -> Row:
    types = {field.name: str(field.type) for field in fields(kind)}
    return kind(**{name: _value(line[name], types[name]) for name in types})


def _value(text: str, kind: str) -> Any:
    if text == "" and "None" in kind:
        return None
    if kind.startswith("bool"):
        return text == "True"
    return (
        int(text) if kind.startswith("int") else float(text) if kind.startswith("float") else text
    )


def write_rows(file: Path, rows: Sequence[Row] | Iterable[Row], kind: type[Row]) -> None:
    """Write a table whole; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(file, text.getvalue())
