"""The sections of a report: what was found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ssl_zoo.metric_names import metric_named
from ssl_zoo.run_folder import ENDED
from ssl_zoo.study.folder import FINAL
from ssl_zoo.study.guards import FAILS, OPEN, WARNS, Outcome
from ssl_zoo.study.reading import Study
from ssl_zoo.study.report.document import Block, Code, Section, Table, Text
from ssl_zoo.study.report.words import gap, gap_interval, interval, score, spread, values
from ssl_zoo.study.results import Suite, of_finals_on_val, on_val
from ssl_zoo.study.statistics import Difference

_MANY = 45  # pairs: of more only those with the best method


def of_suite(study: Study, suite: Suite, picture: Block | None) -> Section:
    """Scores of a protocol, and all differences."""
    section = Section(f"Scores on test: {suite.name}")
    if suite.comparison is None:
        section.blocks.append(Text("No method has a score yet."))
        return section
    section.blocks.append(_summary(study, suite))
    if picture is not None:
        section.blocks.append(picture)
    if suite.comparison.differences:
        section.blocks.append(_differences(suite))
    return section


def _summary(study: Study, suite: Suite) -> Table:
    found = suite.comparison
    assert found is not None
    rows, strong = [], set()
    for i, (name, one) in enumerate(found.spreads.items()):
        if name in found.undecided:
            strong.add(i)
        error = suite.sampling.get(name)
        rows.append(
            [
                name,
                score(one.mean, suite.is_share),
                interval(one.interval, suite.is_share) or "one seed",
                str(one.n),
                score(one.s, suite.is_share),
                "" if error is None else f"± {score(error, suite.is_share)}",
            ]
        )
    lost = [name for name in study.methods if name not in found.spreads]
    rows += [[name, "no score", "", "0", "", ""] for name in lost]
    levels = {
        **suite.floors,
        **({"supervised, all labels": suite.ceiling} if suite.ceiling else {}),
    }
    for name, level in levels.items():
        ends = interval(level.interval, suite.is_share) if level.s else ""
        rows.append([name, score(level.mean, suite.is_share), ends, str(level.n), "", ""])
    unit = " (%)" if suite.is_share else ""
    images = f" of {suite.images:,} images" if suite.images else ""
    return Table(
        ["method", f"{suite.metric}{unit}", "95% interval", "n", "s", "test sampling"],
        rows,
        frozenset(strong),
        note="Bold: the best mean, and every method that it is not shown to be better than. The "
        "interval is Student's t over n seeds, which vary initialisation, order and augmentation; "
        f"test sampling is the 95% error of a test set{images}, common to all seeds. Floors "
        "and the supervised ceiling are below the methods.",
    )


def _differences(suite: Suite) -> Table:
    found = suite.comparison
    assert found is not None
    pairs = found.differences
    if len(pairs) > _MANY:
        pairs = [pair for pair in pairs if found.best in (pair.first, pair.second)]
    hidden = len(found.differences) - len(pairs)
    rest = f" {hidden} pairs without the best method are in report.json." if hidden else ""
    rows = [_difference(pair, suite.is_share) for pair in pairs]
    strong = frozenset(i for i, pair in enumerate(pairs) if pair.better)
    return Table(
        ["A", "B", "A - B", "interval", "seeds", "p (Holm)", "A ahead in", "A is better"],
        rows,
        strong,
        frozenset({0, 1, 7}),
        note="Differences are paired by seed. The best method is found in the same data, so that "
        "p and the intervals are corrected over all pairs: if no method were better than another, "
        "a study would call one better in at most 5% of cases. Equal scores are half a seed ahead."
        + rest,
    )


def _difference(pair: Difference, is_share: bool) -> list[str]:
    p = (
        ""
        if pair.adjusted is None
        else f"{pair.adjusted:.3f}"
        if pair.adjusted >= 0.001
        else "< 0.001"
    )
    verdict = "yes" if pair.better else pair.note or "undecided"
    return [
        pair.first,
        pair.second,
        gap(pair.mean, is_share) if pair.n else "",
        gap_interval(pair.interval, is_share),
        str(pair.n),
        p,
        f"{pair.ahead:g} of {pair.n}",
        verdict,
    ]


def of_search(study: Study, pictures: Sequence[Block | None]) -> Section:
    """How the configurations were found."""
    section = Section("The search")
    searched = [(m, study.dimensions(m), len(study.trial_numbers(m))) for m in study.methods]
    shared = set(study.settings.get("search") or {})
    rows = [
        [
            method,
            str(len(dimensions)),
            str(trials),
            ", ".join(
                f"{knob}: {written}" for knob, written in dimensions.items() if knob in shared
            ),
            ", ".join(f"{k}: {written}" for k, written in dimensions.items() if k not in shared),
        ]
        for method, dimensions, trials in searched
    ]
    section.blocks.append(
        Table(
            ["method", "dimensions", "trials", "shared", "its own"],
            rows,
            words=frozenset({0, 3, 4}),
            note="More dimensions with as many trials are searched less densely.",
        )
    )
    section.blocks += [picture for picture in pictures if picture is not None]
    return section


def of_selection(study: Study, suite: Suite | None) -> Section:
    """What was selected on val, beside what test would have selected."""
    section = Section("What was selected")
    selected = study.selection.get("methods") or {}
    if not selected:
        section.blocks.append(Text("The selection is not sealed yet."))
        return section
    rows = [_selected(study, method, suite) for method in study.methods if selected.get(method)]
    columns = ["method", "trial", "values", "val in the search", "val of final seeds", "test"]
    share = metric_named(study.metric).is_share
    unit = " (%)" if share else ""
    section.blocks.append(
        Table(
            [*columns, "oracle's trial", "its test", "the selected trial's test"],
            rows,
            words=frozenset({0, 2}),
            note=f"Selected by {study.metric}{unit} at the last step. A score in the search "
            "that is above that of the final seeds was partly luck. The oracle is the trial with "
            "the best score on test, of one seed: it is printed, never used, and what it gains "
            "over the selected trial is what selection on val costs, and on test would pretend.",
        )
    )
    return section


def _selected(study: Study, method: str, suite: Suite | None) -> list[str]:
    sealed = study.selection["methods"][method]
    share = metric_named(study.metric).is_share
    trial = int(sealed.get("trial", -1))
    row = [
        method,
        str(trial),
        values(sealed.get("values") or {}),
        spread(on_val(study, method, trial), share),
        spread(of_finals_on_val(study, method), share),
    ]
    if suite is None:
        return [*row, "", "", "", ""]
    found = suite.comparison.spreads.get(method) if suite.comparison else None
    best = suite.best_trial(method)
    own = suite.oracle.get(method, {}).get(trial)
    return [
        *row,
        spread(found, suite.is_share),
        "" if best is None else str(best[0]),
        "" if best is None else score(best[1], suite.is_share),
        score(own, suite.is_share),
    ]


def of_guards(outcomes: Sequence[Outcome]) -> Section:
    """What each guard says; failures first."""
    order = {FAILS: 0, WARNS: 1, OPEN: 2}
    rows = []
    for one in sorted(outcomes, key=lambda outcome: order.get(outcome.level, 3)):
        verdict = f"waived ({one.level})" if one.waived and one.failures else one.level
        lines = [*one.failures, *one.warnings, *one.open]
        rows += [[one.guard, one.title, verdict, line] for line in lines or [""]]
    strong = frozenset(i for i, row in enumerate(rows) if row[2] == FAILS)
    note = "Each is recomputed from the folders of the runs: docs/studies.md has what it means."
    columns = ["", "what is checked", "verdict", "what and where"]
    return Section(
        "Guards of a fair comparison",
        [Table(columns, rows, strong, frozenset({0, 1, 2, 3}), note)],
    )


def of_backbones(study: Study, suite: Suite | None) -> Section:
    """The commands that take each method's backbone out."""
    section = Section("Take a backbone out")
    commands = export_commands(study, suite)
    if not commands:
        section.blocks.append(Text("No final run is done yet."))
        return section
    section.blocks += [
        Text(
            "The first seed of each, the best method first; a seed chosen by its score on test "
            "would be the luckiest one. safetensors takes every backbone; docs/checkpoints.md "
            "has the other formats."
        ),
        Code("\n".join(commands)),
    ]
    return section


def export_commands(study: Study, suite: Suite | None) -> list[str]:
    """Of each method's first final seed, the best method first."""
    best = suite.comparison.spreads if suite and suite.comparison else study.methods
    commands = []
    for method in best:
        own = [run for run in study.finals if (run.row.method, run.row.stage) == (method, FINAL)]
        done = sorted((r for r in own if r.status in ENDED), key=lambda r: (r.row.seed, r.row.fold))
        if done:
            commands.append(export_command(str(done[0].folder), method))
    return commands


def export_command(run: str, method: str) -> str:
    """As it is pasted into a shell."""
    file = re.sub(r"[^\w.-]+", "_", method).strip("_.-") or "backbone"
    return f"ssl-zoo export {shlex.quote(run)} --format safetensors {file}.safetensors"
