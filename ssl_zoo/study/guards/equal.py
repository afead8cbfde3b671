"""G5, G6 and G7: what must be equal over methods, their budgets, and the code."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ssl_zoo.run_folder import ENDED, RunFolder
from ssl_zoo.study.folder import FINAL, HPO, RERUN
from ssl_zoo.study.guards.aside import follows, is_below, set_aside
from ssl_zoo.study.guards.outcome import Outcome
from ssl_zoo.study.reading import Run, Study, in_words

UNITS = {
    "images": "images_seen",
    "views": "views_seen",
    "pixels": "pixels_seen",
    "seconds": "seconds",
}
_TOLERANCE = {"seconds": 0.1}  # of a clock; a count may differ by a hundredth
_COUNTED = 0.01


def check_held(study: Study, outcome: Outcome) -> None:
    """G5: the parts of the config that are held, in all runs of all methods."""
    runs = [run for run in study.runs if run.config]
    if not runs:
        outcome.wait("no run has begun")
        return
    held = [str(path) for path in study.settings.get("held") or []]
    allowed = [str(path) for path in study.settings.get("allow_differ") or []]
    is_allowed = follows(study, allowed)
    for key, groups in differing(study, runs, held).items():
        line = f"{key} is " + "; ".join(f"{value} in {where}" for value, where in groups)
        if is_allowed(key):
            outcome.warn(f"{line} (allow_differ)")
        else:
            outcome.fail(line)
    _check_planned(study, held, allowed, outcome)


def _check_planned(
    study: Study, held: Sequence[str], allowed: Sequence[str], outcome: Outcome
) -> None:
    """What the plan says is held, over methods and in the rows."""
    if not held:
        outcome.fail("held is empty: nothing is held equal over the methods")
    planned = study.plan.get("methods") or {}
    if len({str(one.get("held_sha")) for one in planned.values()} - {"None"}) > 1 and not allowed:
        outcome.fail("plan.json: held_sha differs over the methods")
    shas = Counter(run.row.held_sha for run in study.runs if run.row.held_sha)
    if len(shas) > 1 and not allowed and not outcome.failures:
        rare = [r.name for r in study.runs if r.row.held_sha and r.row.held_sha != most(shas)]
        outcome.fail(f"held_sha of {in_words(rare)} differs from that of the other runs")


def differing(
    study: Study, runs: Iterable[Run], held: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Of the held settings those that are not the same in all runs, with their values and where."""
    known = list(runs)
    aside = set_aside(study)
    values: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in known:
        for key, value in run.config.items():
            if any(is_below(key, path) for path in held):
                values[key][json.dumps(value, sort_keys=True, default=str)].append(run)
    found = {}
    for key, by_value in values.items():
        if missing := [run for run in known if key not in run.config]:
            by_value["not there"] = missing
        if len(by_value) > 1 and not aside(key):
            found[key] = [(value, _where(study, some)) for value, some in by_value.items()]
    return found


def _where(study: Study, runs: Sequence[Run]) -> str:
    """Methods whose runs are all among these, else runs by name."""
    whole = [
        method
        for method in study.methods
        if {id(run) for run in study.runs if run.row.method == method and run.config}
        <= {id(run) for run in runs}
        and any(run.row.method == method for run in runs)
    ]
    rest = [run.name for run in runs if run.row.method not in whole]
    return in_words([*whole, *rest])


def most(counts: Counter[Any]) -> Any:
    """The most frequent one."""
    return counts.most_common(1)[0][0]


def check_budget(study: Study, outcome: Outcome) -> None:
    """G6: as many trials, reruns and seeds for each method, and as much training for each run."""
    sealed = bool(study.selection)
    wanted = int(study.settings.get("trials") or 0)
    _check_count(study, HPO, range(wanted), sealed, outcome)
    _check_reruns(study, sealed, outcome)
    _check_finals(study, outcome)
    _check_unlisted(study, outcome)
    unit = str(study.settings.get("unit") or "images")
    _check_amount(study, unit, outcome)
    failed = [r for r in study.runs if r.is_done and r.status not in ENDED]
    for method, count in Counter(run.row.method for run in failed).items():
        kinds = Counter(run.status for run in failed if run.row.method == method)
        what = ", ".join(f"{n} {status}" for status, n in kinds.items())
        outcome.warn(f"{method}: {count} runs without a score ({what}); they count as trials")


def _check_count(study: Study, stage: str, numbers: range, sealed: bool, outcome: Outcome) -> None:
    for method in study.methods:
        rows = [run for run in study.trials if (run.row.method, run.row.stage) == (method, stage)]
        done = {run.row.trial for run in rows if run.is_done}
        lost = sorted(set(numbers) - {run.row.trial for run in rows})
        more = sorted({run.row.trial for run in rows} - set(numbers))
        if more:
            outcome.fail(f"{method}: {len(more)} trials more than trials={len(numbers)}")
        if lost and (sealed or rows):
            outcome.fail(f"{method}: trial {in_words(map(str, lost))} is missing in trials.csv")
        elif len(done) < len(numbers):
            line = f"{method}: {len(done)} of {len(numbers)} trials are done"
            (outcome.fail if sealed else outcome.wait)(line)


def _check_reruns(study: Study, sealed: bool, outcome: Outcome) -> None:
    rerun = study.settings.get("rerun") or {}
    configs, seeds = int(rerun.get("configs") or 0), int(rerun.get("seeds") or 0)
    if not sealed or not configs or not seeds:
        return
    for method in study.methods:
        rows = [r for r in study.trials if (r.row.method, r.row.stage) == (method, RERUN)]
        found = Counter((run.row.trial, run.row.fold) for run in rows)
        scored = [
            t for t in study.trial_numbers(method) if study.first_score(method, t) is not None
        ]
        trials = {trial for trial, _ in found}
        if len(trials) < min(configs, len(scored)):
            outcome.fail(f"{method}: {len(trials)} of {configs} configurations were run again")
        for (trial, _), count in found.items():
            if count != seeds:
                outcome.fail(f"{method}: trial {trial} was run again on {count} of {seeds} seeds")


def _check_finals(study: Study, outcome: Outcome) -> None:
    wanted = int(study.settings.get("seeds") or 0)
    finals = [run for run in study.finals if run.row.stage == FINAL]
    if not finals:
        outcome.wait("no final run has begun")
        return
    selected = study.selection.get("methods") or {}
    for method in study.methods:
        if not selected.get(method):
            outcome.warn(f"{method}: nothing was selected for it: it has no final runs")
            continue
        own = [run for run in finals if run.row.method == method]
        seeds = {run.row.seed for run in own}
        undone = {run.row.seed for run in own if not run.is_done}
        if len(seeds) != wanted:
            outcome.fail(f"{method}: finals.csv has {len(seeds)} seeds, not seeds={wanted}")
        elif undone:
            outcome.wait(f"{method}: {len(seeds - undone)} of {wanted} final seeds are done")


def _check_unlisted(study: Study, outcome: Outcome) -> None:
    """Runs that are there and in no table: further trials that nobody hears of."""
    listed = {run.folder.path for run in [*study.trials, *study.finals]}
    for stage in ("trials", "finals"):
        for config in sorted((study.folder.path / stage).rglob("config.yaml")):
            is_run = RunFolder(config.parent).result.is_file()
            if is_run and config.parent not in listed:
                place = config.parent.relative_to(study.folder.path)
                outcome.fail(f"{place} is a run that {stage}.csv does not list")


def _check_amount(study: Study, unit: str, outcome: Outcome) -> None:
    """The unit of the budget, of runs that reached their last step."""
    if unit not in UNITS:
        outcome.fail(f"unit={unit} is none of {', '.join(UNITS)}")
        return
    amounts = {
        run.name: amount
        for run in study.runs
        if run.status in ENDED and (amount := amount_of(run, unit)) is not None
    }
    if not amounts:
        outcome.wait("no run has ended")
        return
    middle, other = unequal(amounts, unit)
    if other:
        worst = max(other, key=lambda name: abs(other[name] - middle))
        outcome.fail(
            f"{len(other)} of {len(amounts)} runs had another budget than {middle:,.0f} {unit}: "
            f"{in_words(other)}; {worst} had {other[worst]:,.0f} "
            f"({100 * (other[worst] / middle - 1):+.1f}%)"
        )


def unequal(amounts: Mapping[str, float], unit: str) -> tuple[float, dict[str, float]]:
    """The middle one of several amounts, and those that are not equal to it."""
    middle = sorted(amounts.values())[(len(amounts) - 1) // 2]
    allowed = _TOLERANCE.get(unit, _COUNTED) * middle
    return middle, {name: one for name, one in amounts.items() if abs(one - middle) > allowed}


def amount_of(run: Run, unit: str) -> float | None:
    """How much of a unit a run was trained on; images as its metrics.csv has them."""
    if unit == "images" and run.images is not None:
        return float(run.images)
    if unit == "seconds" and run.result.get("seconds") is not None:
        return float(run.result["seconds"])
    value = run.fact(UNITS[unit])
    return None if value is None else float(value)


def check_code(study: Study, outcome: Outcome) -> None:
    """G7: the commit, its changes, the libraries and the device, in all runs."""
    runs = [run for run in [*study.trials, *study.finals] if run.is_done or run.result]
    if not runs:
        outcome.wait("no run has begun")
        return
    codes = Counter(str(code) for run in runs if (code := run.fact("code")))
    planned = str(study.plan.get("code") or "")
    if planned:
        codes[planned] += 0
    if len(codes) > 1:
        outcome.fail(f"runs of {len(codes)} states of the code: {_listed(codes, runs, 'code')}")
    elif not codes:
        outcome.warn("no run says which code it ran")
    if changed := [code for code in codes if "+" in code or "dirty" in code]:
        outcome.fail(
            f"code {in_words(changed)} is a checkout with changes, which nobody else has: commit "
            "them first"
        )
    _check_same(runs, "device", outcome)
    versions = Counter(_sorted_json(run.fact("versions")) for run in runs)
    versions.pop(_sorted_json(None), None)
    if len(versions) > 1:
        outcome.fail(f"libraries differ: {_version_changes(list(versions))}")


def _check_same(runs: Sequence[Run], name: str, outcome: Outcome) -> None:
    values = Counter(str(value) for run in runs if (value := run.fact(name)))
    if len(values) > 1:
        outcome.fail(f"{name}s differ: {_listed(values, runs, name)}")


def _listed(values: Mapping[str, int], runs: Sequence[Run], name: str) -> str:
    parts = []
    for value in values:
        where = [run.name for run in runs if str(run.fact(name)) == value]
        parts.append(f"{value} ({in_words(where, 2) or 'plan.json'})")
    return "; ".join(parts)


def _sorted_json(value: Any) -> str:
    if isinstance(value, str):
        with suppress(ValueError):
            value = json.loads(value)
    return json.dumps(value or {}, sort_keys=True)


def _version_changes(texts: Sequence[str]) -> str:
    versions = [json.loads(text) for text in texts]
    names = sorted({name for one in versions for name in one})
    changed = [n for n in names if len({str(one.get(n)) for one in versions}) > 1]
    return in_words(f"{n} {'/'.join(sorted({str(v.get(n)) for v in versions}))}" for n in changed)
