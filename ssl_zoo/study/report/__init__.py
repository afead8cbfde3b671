"""The report of a study, recomputed from its folder: `write`. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ssl_zoo.console import print_table
from ssl_zoo.study.folder import StudyFolder
from ssl_zoo.study.guards import FAILS, OPEN, PASSES, WARNS, Outcome, check
from ssl_zoo.study.reading import Study, read_study
from ssl_zoo.study.report import details, sections
from ssl_zoo.study.report.document import Document, Section, Text
from ssl_zoo.study.report.markdown import as_markdown
from ssl_zoo.study.report.page import as_page
from ssl_zoo.study.report.words import interval, score
from ssl_zoo.study.results import Suite, below_floors, best_of_k, certainty, spent, suites
from ssl_zoo.writing import write_text

_LEVELS = {FAILS: "FAIL", WARNS: "warn", OPEN: "cannot be checked yet", PASSES: "pass"}
UNFAIR = "NOT A FAIR COMPARISON"
_UNFAIR_CODE = 2
_COLUMNS = (
    *("suite", "metric", "kind", "name", "mean", "low", "high", "s", "n"),
    *("sampling_error", "test_images", "bold"),
)


def write(folder: StudyFolder) -> int:
    """Recompute the report from files, and say in the terminal what it finds.

    Args:
        folder: Of the study, which may be half done.

    Returns:
        The exit code: 2 if a guard fails that is not waived, else 0.

    Raises:
        UserError: If it is no study's folder, or a file of it cannot be read.
    """
    study = read_study(folder)
    outcomes, found = check(study), suites(study)
    document = _document(study, outcomes, found)
    figures = folder.path / "figures"
    write_text(folder.path / "report.md", as_markdown(document))
    write_text(folder.path / "report.html", as_page(document, figures))
    write_text(folder.path / "summary.csv", _summary_csv(found))
    content = json.dumps(_as_json(study, outcomes, found), indent=2, default=str)
    write_text(folder.path / "report.json", content + "\n")
    _say(study, outcomes, found)
    return _UNFAIR_CODE if any(outcome.is_unfair for outcome in outcomes) else 0


def _document(study: Study, outcomes: Sequence[Outcome], found: Sequence[Suite]) -> Document:
    from ssl_zoo.study.report.pictures import Pictures  # matplotlib is slow to import

    pictures = Pictures(study, study.folder.path / "figures")
    curves, why = best_of_k(study)
    first = found[0] if found else None
    parts: list[Section] = []
    for number, suite in enumerate(found, 1):
        parts.append(sections.of_suite(study, suite, pictures.of_suite(suite, number)))
    parts.append(sections.of_backbones(study, first))
    parts.append(sections.of_selection(study, first))
    best_of = pictures.of_search(curves) or Text(why)
    parts.append(sections.of_search(study, [best_of, pictures.of_trials()]))
    if (learning := pictures.of_training()) is not None:
        parts.append(Section("Learning curves", [learning]))
    parts += [details.of_budget(study), details.of_settings(study), sections.of_guards(outcomes)]
    parts += [details.of_provenance(study), details.of_runs(study)]
    alarm, reasons = _alarm(outcomes)
    return Document(f"Study {study.name}", alarm, reasons, _lead(study, outcomes, found), parts)


def _alarm(outcomes: Sequence[Outcome]) -> tuple[str, list[str]]:
    unfair = [outcome for outcome in outcomes if outcome.is_unfair]
    reasons = [f"{one.guard}: {line}" for one in unfair for line in one.failures]
    return (UNFAIR if unfair else "", reasons)


def _lead(study: Study, outcomes: Sequence[Outcome], found: Sequence[Suite]) -> list[str]:
    sentences = [[certainty(suite), below_floors(suite)] for suite in found]
    lines = [line for pair in sentences for line in pair if line] or [
        "Nothing was scored on test yet."
    ]
    for outcome in outcomes:
        if outcome.waived and outcome.failures:
            lines.append(f"Waived, {outcome.guard}: {'; '.join(outcome.failures)}.")
    counts = Counter(outcome.level for outcome in outcomes)
    levels = [f"{counts[level]} {words}" for level, words in _LEVELS.items() if counts[level]]
    lines.append(f"Guards: {', '.join(levels)}.")
    missing = unfinished(study)
    if missing:
        lines.insert(0, f"UNFINISHED: {'; '.join(missing)}.")
    return lines


def unfinished(study: Study) -> list[str]:
    """What a study has not done yet, in words; nothing once it is done."""
    settings, methods = study.settings, len(study.methods)
    folds = len(settings.get("folds") or [None])
    found = []
    wanted = methods * int(settings.get("trials") or 0) * folds
    done = sum(run.is_done and run.row.stage == "hpo" for run in study.trials)
    if done < wanted:
        found.append(f"{done} of {wanted} runs of the search are done")
    if not study.selection:
        found.append("no selection is sealed")
        return found
    chosen = len(study.selection.get("methods") or {})
    wanted = chosen * int(settings.get("seeds") or 0)
    finals = sum(run.is_done and run.row.stage == "final" for run in study.finals)
    if finals < wanted * folds:
        found.append(f"{finals} of {wanted * folds} final runs are done")
    for protocol in settings.get("protocols") or []:
        names = (r.score for r in study.readings if r.score.kind == "method")
        scored = {(s.method, s.seed) for s in names if s.suite.partition(",")[0] == protocol}
        if len(scored) < wanted:
            found.append(f"{len(scored)} of {wanted} final seeds have a score by {protocol}")
    return found


def _summary_rows(found: Sequence[Suite]) -> list[dict[str, Any]]:
    rows = []
    for suite in found:
        levels: list[tuple[str, str, Any]] = []
        if suite.comparison:
            levels += [("method", name, one) for name, one in suite.comparison.spreads.items()]
        levels += [("floor", name, one) for name, one in suite.floors.items()]
        levels += [("ceiling", "supervised", suite.ceiling)] if suite.ceiling else []
        for kind, name, one in levels:
            low, high = one.interval or ("", "")
            best = bool(
                suite.comparison and kind == "method" and name in suite.comparison.undecided
            )
            rows.append(
                {
                    "suite": suite.name,
                    "metric": suite.metric,
                    "kind": kind,
                    "name": name,
                    "mean": one.mean,
                    "low": low,
                    "high": high,
                    "s": "" if one.s is None else one.s,
                    "n": one.n,
                    "sampling_error": suite.sampling.get(name, "") if kind == "method" else "",
                    "test_images": suite.images,
                    "bold": best,
                }
            )
    return rows


def _summary_csv(found: Sequence[Suite]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_summary_rows(found))
    return text.getvalue()


def _as_json(study: Study, outcomes: Sequence[Outcome], found: Sequence[Suite]) -> dict[str, Any]:
    return {
        "format": 1,
        "name": study.name,
        "is_fair": not any(outcome.is_unfair for outcome in outcomes),
        "unfinished": unfinished(study),
        "guards": [
            {
                "guard": one.guard,
                "title": one.title,
                "level": one.level,
                "waived": one.waived,
                "failures": one.failures,
                "warnings": one.warnings,
                "open": one.open,
            }
            for one in outcomes
        ],
        "sentences": [certainty(suite) for suite in found],
        "summary": _summary_rows(found),
        "differences": [
            {"suite": suite.name, **pair._asdict()}
            for suite in found
            for pair in (suite.comparison.differences if suite.comparison else [])
        ],
        "spent": {method: vars(spent(study, method)) for method in study.methods},
        "best_of_k": best_of_k(study)[0],
        "selected": study.selection.get("methods") or {},
        "oracle": {suite.name: suite.oracle for suite in found},
    }


def _say(study: Study, outcomes: Sequence[Outcome], found: Sequence[Suite]) -> None:
    for suite in found:
        if suite.comparison:
            rows = [
                [
                    f"{name} *" if name in suite.comparison.undecided else name,
                    score(one.mean, suite.is_share),
                    interval(one.interval, suite.is_share),
                    str(one.n),
                ]
                for name, one in suite.comparison.spreads.items()
            ]
            title = f"{suite.name}: {suite.metric} (* the best or undecided)"
            print_table(title, ["", "mean", "95% interval", "n"], rows)
    for line in _lead(study, outcomes, found):
        print(line)
    alarm, reasons = _alarm(outcomes)
    for line in [alarm, *reasons] if alarm else []:
        print(line)
    commands = sections.export_commands(study, found[0] if found else None)
    if commands and study.settings.get("budget") is None:  # with one, that is said at last
        print(f"take the first one's backbone out: {commands[0]}")
    print(f"report: {study.folder.path / 'report.html'}")
