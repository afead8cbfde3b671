"""G1 and G2: test is not seen before the selection is sealed, and then once."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssl_zoo.run_folder import ENDED
from ssl_zoo.study.folder import FINAL, METHOD, ORACLE, Score
from ssl_zoo.study.guards.outcome import Outcome
from ssl_zoo.study.reading import Run, Study, evaluations, in_words, sha256_of

_READ = "read"


def check_lock(study: Study, outcome: Outcome) -> None:
    """G1: nothing of test in the trials, no reading of test before or without the seal."""
    for run in study.trials:
        if names := [name for name in run.names if name.startswith("test")]:
            outcome.fail(f"{run.name} logged {in_words(sorted(names))} while it was trained")
    _check_evaluations(study, outcome)
    sealed = time_of(study.selection.get("sealed"))
    selection = sha256_of(study.folder.selection)
    for line in study.ledger:
        if line.get("status") != "opened":
            continue
        what = described(line)
        if not study.selection:
            outcome.fail(f"test was opened for {what}, and no selection is sealed")
        elif line.get("selection_sha") != selection:
            outcome.fail(f"test was opened for {what} under another selection.json than this one")
        elif (at := time_of(line.get("time"))) and sealed and at < sealed:
            outcome.fail(f"test was opened for {what} at {line['time']}, before the seal")
    if not study.selection and not outcome.failures:
        outcome.wait("no selection is sealed yet; so far test was not opened")


def _check_evaluations(study: Study, outcome: Outcome) -> None:
    """Each file of evaluate.py with scores on test must have its line in the ledger."""
    known = {str(line.get("folder", "")).strip("/") for line in study.ledger}
    for run in study.trials:
        left = any(run.folder.evaluation.glob("*")) if run.row.folder else False
        place = run.folder.path.relative_to(study.folder.path)
        if left and not known & {str(one) for one in (place, *place.parents)}:
            outcome.fail(f"{place} was evaluated, of which the ledger knows nothing")
    for file, content in evaluations(study.folder):
        scores = {name for row in content["rows"].values() for name in row}
        if not any(name.startswith("test_") for name in scores):
            continue
        place = file.relative_to(study.folder.path)
        if not known & {str(one) for one in (place, *place.parents)}:
            outcome.fail(f"{place} has scores on test that the ledger does not know")


def check_once(study: Study, outcome: Outcome) -> None:
    """G2: one reading of each final run by each suite, of the checkpoint that was trained."""
    if not study.ledger:
        if study.readings:
            outcome.fail("results.csv has scores on test, and ledger.jsonl has no line")
        else:
            outcome.wait("test was not read yet")
        return
    _check_chain(study, outcome)
    readings: dict[str, list[dict[str, Any]]] = {}
    for line in study.ledger:
        readings.setdefault(str(line.get("id")), []).append(line)
    _check_repeats(readings, outcome)
    _check_checkpoints(study, readings, outcome)
    _check_scores(study, readings, outcome)
    _check_coverage(study, outcome)


def _check_chain(study: Study, outcome: Outcome) -> None:
    """Each line names the sha256 of the one before it, as it stands in the file."""
    lines = study.folder.ledger.read_text(encoding="utf-8").splitlines()[: len(study.ledger)]
    for number, line in enumerate(study.ledger):
        before = hashlib.sha256(lines[number - 1].encode()).hexdigest() if number else ""
        said = str(line.get("previous") or "")
        if said != before:
            outcome.fail(
                f"ledger.jsonl: line {number + 1} does not follow the one before it: a line was "
                "changed, added or removed"
            )


def _check_repeats(readings: dict[str, list[dict[str, Any]]], outcome: Outcome) -> None:
    """A reading that was cut short is repeated under its id; another one is a second look."""
    places: Counter[tuple[Any, ...]] = Counter()
    for lines in readings.values():
        first = lines[0]
        what = described(first)
        if len({line.get("checkpoint_sha") for line in lines}) > 1:
            outcome.fail(f"{what}: the reading was repeated with another checkpoint")
        if sum(line.get("status") == _READ for line in lines) > 1:
            outcome.fail(f"{what}: test was read twice under one id")
        for suite in first.get("suites") or [""]:
            places[(*_key(first), suite)] += 1
        opened = sum(line.get("status") == "opened" for line in lines)
        if opened > 1:
            outcome.warn(f"{what}: a stop came between opening and reading; opened {opened} times")
        if lines[-1].get("status") == "failed":
            outcome.warn(f"{what}: the evaluation failed")
    for key, count in places.items():
        if count > 1:
            outcome.fail(f"{_placed(key)}: test was read {count} times, instead of once")


def _check_checkpoints(
    study: Study, readings: dict[str, list[dict[str, Any]]], outcome: Outcome
) -> None:
    """What was scored on test is what was trained."""
    finals = {_of_run(run): run for run in study.finals}
    checked: dict[Path, str] = {}
    for lines in readings.values():
        line = lines[0]
        run = finals.get((line.get("method"), line.get("seed"), line.get("fold") or 0))
        if line.get("purpose") != METHOD or run is None:
            continue
        said = str(line.get("checkpoint_sha") or "")
        if run.row.checkpoint_sha and said != run.row.checkpoint_sha:
            outcome.fail(f"{run.name}: another checkpoint was scored than the one of finals.csv")
        last = run.folder.last
        if last not in checked:
            checked[last] = sha256_of(last)
        if not checked[last]:
            outcome.warn(f"{run.name}: its last.ckpt is gone, so that it cannot be compared")
        elif checked[last] != said:
            outcome.fail(f"{run.name}: its last.ckpt is not the checkpoint that was scored")


def _check_scores(
    study: Study, readings: dict[str, list[dict[str, Any]]], outcome: Outcome
) -> None:
    """Each reading has its scores in results.csv, and each score its reading."""
    scores: dict[str, list[Score]] = {}
    for reading in study.readings:
        scores.setdefault(reading.score.reading, []).append(reading.score)
    for unknown in sorted(scores.keys() - readings.keys()):
        outcome.fail(f"results.csv has a score of the reading {unknown or '(none)'}, not in ledger")
    for name, lines in readings.items():
        own, what = scores.get(name, []), described(lines[0])
        if not any(line.get("status") == _READ for line in lines):
            continue
        suites = {score.suite.partition(",")[0] for score in own if score.is_headline}
        if lost := [suite for suite in lines[0].get("suites") or [] if suite not in suites]:
            outcome.fail(f"{what}: test was read, and results.csv has no score by {in_words(lost)}")
        for score in own:
            said = (score.kind, score.method, score.seed)
            line = tuple(lines[0].get(key) for key in ("purpose", "method", "seed"))
            named = score.kind in (METHOD, ORACLE)
            if said != line if named else (said[0], said[2]) != (line[0], line[2]):
                outcome.fail(
                    f"results.csv has {score.method}, seed {score.seed} ({score.kind}), of the "
                    f"reading of {what}"
                )
                break


def _check_coverage(study: Study, outcome: Outcome) -> None:
    """Final runs that are done and not read yet."""
    read = {
        (line.get("method"), line.get("seed"), line.get("fold") or 0)
        for line in study.ledger
        if line.get("purpose") == METHOD and line.get("status") == _READ
    }
    for run in study.finals:
        scored = run.row.stage == FINAL and run.is_done and run.status in ENDED
        if scored and _of_run(run) not in read:
            outcome.wait(f"{run.name} was not read on test yet")
    known = {(run.row.method, run.row.seed) for run in study.finals}
    for line in study.ledger:
        place = (line.get("method"), line.get("seed"))
        if line.get("purpose") == METHOD and place not in known:
            outcome.fail(f"{described(line)}: test was read for a run that is not in finals.csv")


def _of_run(run: Run) -> tuple[Any, ...]:
    return run.row.method, run.row.seed, run.row.fold


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    purpose = line.get("purpose")
    trial = line.get("trial") if purpose == ORACLE else None
    return purpose, line.get("method"), trial, line.get("seed"), line.get("fold")


def _placed(key: tuple[Any, ...]) -> str:
    purpose, method, trial, seed, fold, suite = key
    parts = [str(method), *([f"trial {trial}"] if trial is not None else []), f"seed {seed}"]
    parts += [f"fold {fold}"] * bool(fold) + [suite] * bool(suite)
    return f"{purpose}: " + ", ".join(parts)


def described(line: dict[str, Any]) -> str:
    """A reading, for a line."""
    return f"{line.get('method')}, seed {line.get('seed')} ({line.get('purpose')})"


def time_of(text: object) -> datetime | None:
    """An ISO 8601 time; None if it is none."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
