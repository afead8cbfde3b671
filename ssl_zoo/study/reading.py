"""What a study's folder holds, read again from the folders of its runs. Imports no torch."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ssl_zoo.metric_names import metric_named
from ssl_zoo.run_folder import ENDED, RunFolder
from ssl_zoo.study.clock import cut_settings
from ssl_zoo.study.folder import (
    CEILING,
    FINAL,
    FLOOR,
    HPO,
    METHOD,
    ORACLE,
    RERUN,
    RunRow,
    Score,
    StudyFolder,
    read_rows,
)
from ssl_zoo.types import UserError, listed

# The rows of evaluate.py's JSON, by what was scored.
_ROWS = {METHOD: "pretrained", ORACLE: "pretrained", CEILING: "random init"}


@dataclass(frozen=True)
class Run:
    """A run of a study: what its row says, and what its folder says.

    Attributes:
        row: Of trials.csv or finals.csv.
        folder: Its own.
        result: result.json; empty without one.
        curve: (step, value) of the metric that the study selects by.
        loss: (step, value) of the training loss.
        names: Of all that was logged.
        last_step: The last one that was logged; -1 of none.
        images: Drawn until then.
    """

    row: RunRow
    folder: RunFolder
    result: dict[str, Any]
    curve: list[tuple[int, float]]
    loss: list[tuple[int, float]]
    names: frozenset[str]
    last_step: int
    images: int | None

    @property
    def name(self) -> str:
        """For a line, such as trials/simclr/3."""
        return self.row.folder or f"{self.row.stage} of {self.row.method}"

    @property
    def status(self) -> str:
        """As its folder says, without one as its row does."""
        return str(self.result.get("status") or self.row.status)

    @property
    def is_done(self) -> bool:
        """Whether the study has nothing more to do for it."""
        return self.row.status not in ("pending", "running", "interrupted")

    @property
    def score(self) -> float | None:
        """The metric at the last step; None of a run that did not reach it."""
        if self.status not in ENDED:
            return None
        if not self.curve:
            return None if self.folder.path.is_dir() else self.row.score
        step, value = self.curve[-1]
        steps = self.facts.get("steps")
        reached = steps is None or step == steps - 1
        return value if reached and math.isfinite(value) else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config by dotted key; empty without one."""
        try:
            return flattened(self.folder.read_config())
        except (OSError, KeyError, TypeError, yaml.YAMLError):
            return {}

    @property
    def facts(self) -> dict[str, Any]:
        """What the run itself says that it read and did."""
        return self.result.get("facts") or {}

    def fact(self, name: str) -> Any:
        """What the run itself says, else its row; None of neither."""
        value = self.facts.get(name)
        return getattr(self.row, name, None) if value is None else value

    def of_config(self, key: str) -> Any:
        """A value of the config, such as num_views; None if it has none."""
        return self.config.get(key)


@dataclass(frozen=True)
class Reading:
    """A score of results.csv, and what the JSON of its evaluation says.

    Attributes:
        score: The row.
        rows: Of the JSON that it was read from; empty if it is gone.
        head: The rest of that JSON.
        file: That JSON, below the study's folder; "" if there is none.
    """

    score: Score
    rows: dict[str, dict[str, Any]]
    head: dict[str, Any]
    file: str

    @property
    def row(self) -> dict[str, Any]:
        """The JSON's row of this score; empty if there is none."""
        having = {name: row for name, row in self.rows.items() if self.score.metric in row}
        named = [row for name, row in having.items() if name.startswith(self._name)]
        return (named or [*having.values()] or [{}])[0]

    @property
    def _name(self) -> str:
        """What evaluate.py calls the row: of several folds, of a floor, or of one checkpoint."""
        several = self.score.suite.partition(", ")[2]
        if several:
            return several
        return self.score.method if self.score.kind == FLOOR else _ROWS.get(self.score.kind, "")

    @property
    def value(self) -> float:
        """As the JSON has it; of one that is gone as results.csv has it."""
        return float(self.row.get(self.score.metric, self.score.value))


@dataclass
class Study:
    """All of a study's folder.

    Attributes:
        folder: It.
        settings: study.yaml.
        plan: plan.json.
        selection: selection.json; empty before it is sealed.
        ledger: The lines of ledger.jsonl.
        trials: The runs of hpo and rerun.
        finals: Those of final and ceiling.
        readings: The scores on test.
    """

    folder: StudyFolder
    settings: dict[str, Any]
    plan: dict[str, Any]
    selection: dict[str, Any]
    ledger: list[dict[str, Any]]
    trials: list[Run]
    finals: list[Run]
    readings: list[Reading] = field(default_factory=list)

    @property
    def name(self) -> str:
        """By its plan, else its folder's."""
        return str(self.plan.get("name") or self.folder.path.name)

    @property
    def methods(self) -> list[str]:
        """In the order of the study file; those that the plan left out are not among them."""
        given = [str(name) for name in self.settings.get("methods") or {}]
        planned = self.plan.get("methods")
        return [name for name in given if name in planned] if planned else given

    @property
    def metric(self) -> str:
        """That the study selects by."""
        return str(self.settings.get("metric") or "")

    @property
    def lowest(self) -> bool:
        """Whether a lower value of that metric is better."""
        return metric_named(self.metric).objective == "min"

    @property
    def runs(self) -> list[Run]:
        """Of training: trials and final runs, not the ceiling's."""
        return [*self.trials, *(run for run in self.finals if run.row.stage == FINAL)]

    def dimensions(self, method: str) -> dict[str, str]:
        """What was searched for a method, as written: the shared knobs, then its own."""
        own = (self.settings.get("methods") or {}).get(method) or {}
        given = {**(self.settings.get("search") or {}), **(own.get("search") or {})}
        return {str(knob): str(written) for knob, written in given.items()}

    def searched(self) -> set[str]:
        """The knobs that any method searched."""
        return {knob for method in self.methods for knob in self.dimensions(method)}

    def of_trial(self, method: str, trial: int) -> list[Run]:
        """Its runs over seeds and folds."""
        return [r for r in self.trials if (r.row.method, r.row.trial) == (method, trial)]

    def trial_score(self, method: str, trial: int) -> float | None:
        """The mean over a trial's seeds and folds; None if one of them has no score."""
        scores = [run.score for run in self.of_trial(method, trial)]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known and len(known) == len(scores) else None

    def trial_numbers(self, method: str) -> list[int]:
        """Of a method, in order."""
        return sorted({run.row.trial for run in self.trials if run.row.method == method})

    def candidates(self, method: str) -> list[int]:
        """The trials that the selection is among: those that were run again, if one has a score."""
        again = {
            r.row.trial for r in self.trials if r.row.method == method and r.row.stage == RERUN
        }
        scored = any(self.trial_score(method, trial) is not None for trial in again)
        return sorted(again) if scored else self.trial_numbers(method)

    def first_score(self, method: str, trial: int) -> float | None:
        """Of the search alone, without the further seeds of the best."""
        runs = [run for run in self.of_trial(method, trial) if run.row.stage == HPO]
        known = [run.score for run in runs if run.score is not None]
        return sum(known) / len(known) if known and len(known) == len(runs) else None


def read_study(folder: StudyFolder) -> Study:
    """Read all of a study's folder.

    Raises:
        UserError: If it is no study's.
    """
    if not folder.settings.is_file():
        raise UserError(
            f"{folder} is not the folder of a study: it has no study.yaml; give the folder that "
            "`study plan` or `study run` wrote"
        )
    settings, plan = _settings(folder.settings), folder.read_json(folder.plan)
    cuts = folder.read_json(folder.budget).get("cuts") or []
    settings = cut_settings(settings, cuts)
    plan["notes"] = [*(plan.get("notes") or []), *(str(cut["why"]) for cut in cuts)]
    metric = str(settings.get("metric") or "")
    trials = [_run(folder, row, metric) for row in read_rows(folder.trials, RunRow)]
    finals = [_run(folder, row, metric) for row in read_rows(folder.finals, RunRow)]
    selection = folder.read_json(folder.selection)
    scores = read_rows(folder.results, Score)
    files: dict[Path, dict[str, Any]] = {}  # each has many scores
    readings = [_reading(folder, score, files) for score in scores]
    return Study(folder, settings, plan, selection, folder.read_ledger(), trials, finals, readings)


def _settings(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{file} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no settings of a study")
    return found


def _run(folder: StudyFolder, row: RunRow, metric: str) -> Run:
    own = RunFolder(folder.path / row.folder if row.folder else folder.path / "-")
    result = own.read_result()
    curves = own.read_metrics()
    last = max((points[-1][0] for points in curves.values() if points), default=-1)
    loss = curves.get("train/loss", [])
    names = frozenset(curves) | frozenset(result.get("metrics") or {})
    return Run(row, own, result, curves.get(metric, []), loss, names, last, _images(own.metrics))


def _images(file: Path) -> int | None:
    """Those that a run had drawn at its last logged step."""
    if not file.is_file():
        return None
    with file.open(newline="", encoding="utf-8") as text:
        seen = [row[2] for row in csv.reader(text) if len(row) == 5]
    return max((int(one) for one in seen if one.isdigit()), default=None)


def _reading(folder: StudyFolder, score: Score, known: dict[Path, dict[str, Any]]) -> Reading:
    """The file of a score: the one that has its protocol's id, of those of its suite."""
    given = folder.path / score.folder
    if given.is_file():
        files = [given]
    else:
        suite = score.suite.split(",")[0].strip()
        files = sorted([*given.glob(f"{suite}*.json"), *given.glob(f"evaluation/{suite}*.json")])
    for file in files:
        if file not in known:
            known[file] = read_evaluation(file)
        content = {**known[file]}
        rows = content.pop("rows", {})
        if any(row.get("protocol_id") == score.protocol_id for row in rows.values()) or (
            content.get("protocol_id") == score.protocol_id
        ):
            return Reading(score, rows, content, str(file.relative_to(folder.path)))
    return Reading(score, {}, {}, "")


def read_evaluation(file: Path) -> dict[str, Any]:
    """A JSON of evaluate.py; empty if it is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(found, dict) and isinstance(found.get("rows"), dict)
    return dict(found) if good else {}


def evaluations(folder: StudyFolder) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All JSON files of evaluate.py below a study's folder."""
    for file in sorted(folder.path.rglob("*.json")):
        if file.name not in ("result.json", "lock.json", "trial.json"):
            content = read_evaluation(file)
            if content:
                yield file, content


def flattened(node: Any, prefix: str = "") -> dict[str, Any]:
    """A config by dotted key; lists are values."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
    return found if node else {prefix: {}}


def sha256_of(file: Path) -> str:
    """Of a file's bytes; "" if it is not there."""
    if not file.is_file():
        return ""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def seal_of(selection: Mapping[str, Any]) -> str:
    """sha256 over all of a selection but its seal."""
    rest = {key: value for key, value in selection.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def in_words(names: Iterable[str], most: int = 3) -> str:
    """A few names, each once, and how many more there are."""
    return listed(list(dict.fromkeys(names)), most)
