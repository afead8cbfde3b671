"""G8, G9 and G12: the images, their split, and the seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from ssl_zoo.metric_names import VAL
from ssl_zoo.study.folder import FINAL, HPO, RERUN
from ssl_zoo.study.guards.outcome import Outcome
from ssl_zoo.study.reading import Run, Study, in_words

_COUNTS = ("images", "val", "test", "classes")


def check_data(study: Study, outcome: Outcome) -> None:
    """G8: fingerprints and counts of all runs, ids of all scores."""
    runs = [run for run in study.runs if run.is_done or run.result]
    if not runs:
        outcome.wait("no run has begun")
        return
    folds: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        folds[run.row.fold].append(run)
    planned = (study.plan.get("data") or {}).get("sha")
    for fold, some in folds.items():
        where = f" of fold {fold}" if len(folds) > 1 else ""
        _check_fingerprints(some, planned if len(folds) == 1 else None, where, outcome)
        for name in _COUNTS:
            counts = Counter(run.facts[name] for run in some if name in run.facts)
            if len(counts) > 1:
                rare = [r.name for r in some if r.facts.get(name) != counts.most_common(1)[0][0]]
                outcome.fail(
                    f"{in_words(rare)} had another number of {name}{where}: {dict(counts)}"
                )
    suites: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for reading in study.readings:
        kind = "ceiling" if reading.score.kind == "ceiling" else ""
        suites[reading.score.suite, kind][reading.score.protocol_id] += 1
    for (suite, _), ids in suites.items():
        if len(ids) > 1:
            outcome.fail(
                f"{suite}: scores with the ids {', '.join(sorted(ids))} are not comparable: other "
                "images, or other settings of the protocol"
            )


def _check_fingerprints(runs: list[Run], planned: str | None, where: str, outcome: Outcome) -> None:
    shas = Counter(str(sha) for run in runs if (sha := run.fact("data_sha")))
    if len(shas) > 1:
        common = shas.most_common(1)[0][0]
        rare = [run.name for run in runs if run.fact("data_sha") not in (common, "", None)]
        outcome.fail(f"{in_words(rare)} had other images, labels or another split{where}")
    elif shas and planned and planned not in shas:
        outcome.fail(f"the runs{where} had other images, labels or another split than the plan")
    elif not shas:
        outcome.warn("no run says which images it read")


def check_seeds(study: Study, outcome: Outcome) -> None:
    """G9: those of the configs, each once, and with different views, losses and weights."""
    for run in study.runs:
        for where, seed in (("config.yaml", run.of_config("seed")), ("result.json", _seed(run))):
            if seed is not None and seed != run.row.seed:
                outcome.fail(
                    f"{run.name} is seed {run.row.seed} in the table, {seed} in its {where}"
                )
    for method in study.methods:
        _check_distinct(study, method, outcome)
    _check_disjoint(study, outcome)
    finals = {
        method: {r.row.seed for r in study.finals if (r.row.stage, r.row.method) == (FINAL, method)}
        for method in study.methods
    }
    sets = {frozenset(seeds) for seeds in finals.values() if seeds}
    if len(sets) > 1:
        outcome.warn("the methods have different final seeds: only shared ones make differences")
    if not any(finals.values()) and not outcome.failures:
        outcome.wait("no final run has begun")


def _seed(run: Run) -> object:
    return run.result.get("seed")


def _check_distinct(study: Study, method: str, outcome: Outcome) -> None:
    """Of each configuration of a method."""
    groups: dict[tuple[str, int, int], list[Run]] = defaultdict(list)
    for run in study.runs:
        if run.row.method == method:
            stage = FINAL if run.row.stage == FINAL else HPO
            groups[stage, run.row.trial, run.row.fold].append(run)
    for (_, _, _), runs in groups.items():
        repeated = [seed for seed, n in Counter(run.row.seed for run in runs).items() if n > 1]
        for seed in repeated:
            same = [run.name for run in runs if run.row.seed == seed]
            outcome.fail(f"{method}: seed {seed} is there twice: {in_words(same)}")
        _check_different(runs, outcome)


def _check_different(runs: list[Run], outcome: Outcome) -> None:
    """Two seeds that made the same views, the same losses or the same weights are one."""
    marks: dict[str, Callable[[Run], str]] = {
        "the same augmented views": lambda run: str(run.fact("views_sha") or ""),
        "the same losses": lambda run: str(run.loss) if len({v for _, v in run.loss}) > 1 else "",
        "the same weights": lambda run: run.row.checkpoint_sha,
    }
    for what, mark in marks.items():
        found: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            found[mark(run)].append(run)
        found.pop("", None)
        for same in found.values():
            if len({run.row.seed for run in same}) > 1:
                outcome.fail(f"{in_words(run.name for run in same)} are of different seeds: {what}")


def _check_disjoint(study: Study, outcome: Outcome) -> None:
    """A configuration that was chosen on a seed is lucky with it."""
    searched = {run.row.seed for run in study.trials if run.row.stage in (HPO, RERUN)}
    again = sorted(searched & {run.row.seed for run in study.finals if run.row.stage == FINAL})
    if again:
        outcome.fail(f"seed {in_words(map(str, again))} of the final runs was used in the search")


def check_names(study: Study, outcome: Outcome) -> None:
    """G12: the metric's name, and the folders of val and test."""
    if not study.metric.startswith(VAL):
        outcome.fail(f"metric={study.metric} is not of val: give one that begins with val/")
    data = study.plan.get("data") or {}
    images = data.get("images") or {}
    shared = (data.get("overlaps") or {}).get("val/test") or 0
    if shared and shared >= min(images.get("val") or 0, images.get("test") or 0):
        outcome.fail(f"val and test are the same images ({shared} of them)")
    seen: dict[str, str] = {}
    for run in study.runs:
        for key, value in run.config.items():
            of_data = key.startswith(("dataset.", "data.")) and isinstance(value, str)
            if of_data and (same := _val_twin(key, value, run)):
                seen.setdefault(f"{same} and {key} are both {value}", run.name)
    for line, name in seen.items():
        outcome.fail(f"{line} ({name} and others)")


def _val_twin(key: str, value: str, run: Run) -> str:
    """The key of val that has test's value, such as val_dir beside test_dir; "" without one."""
    head, _, last = key.rpartition(".")
    if "test" not in last or not value:
        return ""
    for word in ("val", "valid", "validation"):
        twin = f"{head}.{last.replace('test', word)}"
        if run.of_config(twin) == value:
            return twin
    return ""
