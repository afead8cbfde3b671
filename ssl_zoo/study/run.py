"""`run`: the supervisor of a study. It trains and scores nothing itself, and imports no torch."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from ssl_zoo.config import remove_if_empty, trusting
from ssl_zoo.lock import locked
from ssl_zoo.provenance import code_version
from ssl_zoo.study.checks import SOBOL
from ssl_zoo.study.engine import Engine
from ssl_zoo.study.folder import FINAL, HPO, RERUN, StudyFolder
from ssl_zoo.study.optuna_points import check_installed
from ssl_zoo.study.pace import Unhurried, pace_of
from ssl_zoo.study.plan import Planned, plan, planned_of
from ssl_zoo.study.pool import pool_of
from ssl_zoo.study.progress import Progress
from ssl_zoo.study.readings import Reading, Readings
from ssl_zoo.study.rows import now, sha_of_file
from ssl_zoo.study.runs import Runs
from ssl_zoo.study.settings import FREE, Settings, differences, read_folder, settings_of
from ssl_zoo.study.take_home import write_report
from ssl_zoo.training.machine import Stop, stopping
from ssl_zoo.types import UserError, listed

_FORMAT = 1
_KEPT_BYTES = 2e9  # of the trials' checkpoints, which stay if they are no more than this


def run(settings: Settings, command: str) -> int:
    """Do all that is left of a study, and return the report's exit code.

    Args:
        settings: Of the study.
        command: The command line, for a comment.

    Raises:
        UserError: If it cannot begin, or go on.
        Stopped: If a signal came.
    """
    folder = StudyFolder(settings.folder)
    if settings.sampler != SOBOL:
        check_installed(settings.sampler)
    with held(folder):
        if folder.plan.is_file():
            settings = check_same(folder, settings)
            first = folder.settings.read_text(encoding="utf-8").partition("\n")[0]
            settings.write(folder.settings, first.removeprefix("# "))
        elif folder.trials.is_file():
            raise UserError(f"{folder.plan} is gone, by which the trials were made: restore it")
        else:
            plan(settings, command)
            settings = read_folder(folder.settings)  # a budget makes them smaller
        warn_of_code(folder, settings)
        planned = planned_of(settings, folder)
        trust = {package for one in planned.frozen.values() for package in one.trust}
        with trusting(sorted(trust)), stopping() as stop:
            _supervise(folder, planned, stop)
    return write_report(folder, settings.budget)


def warn_of_code(folder: StudyFolder, settings: Settings) -> None:
    """Say before anything runs, not after hours, that G7 will fail.

    Args:
        folder: Of a study that is planned.
        settings: Its.
    """
    planned, code = folder.read_json(folder.plan).get("code"), code_version()
    if "G7" in [guard.upper() for guard in settings.waive]:
        return
    if code != planned:
        print(
            f"warning: the code is {code}, the study was planned with {planned}: G7 will fail; "
            "restore that code, or begin another study with out=DIR",
            flush=True,
        )
    elif "+" in code:
        print(
            f"warning: code {code} is a checkout with changes: G7 will fail; commit them before "
            "the study is planned, or give waive=[G7]",
            flush=True,
        )


@contextmanager
def held(folder: StudyFolder) -> Iterator[StudyFolder]:
    """A study's folder, which nobody else writes inside; it is made, and stays if it is not empty.

    Raises:
        UserError: If another process writes it, or it cannot be made.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; give out=DIR") from error
    try:
        with locked(folder.path) as left:
            if left:
                print(left, flush=True)
            yield folder
    finally:
        remove_if_empty(str(folder))


def check_same(folder: StudyFolder, settings: Settings) -> Settings:
    """A study goes on with the settings that it began with.

    Args:
        folder: The study's.
        settings: Those of the command line: of the study, or what its budget made smaller.

    Returns:
        Those of the study, with what may change.

    Raises:
        UserError: Naming the differences.
    """
    began, plan = read_folder(folder.settings), folder.read_json(folder.plan)
    origins = [began, *([settings_of(plan["given"])] if "given" in plan else [])]
    if changed := min((differences(settings, one) for one in origins), key=len):
        again = "" if folder.trials.is_file() else "plan it again, since nothing was trained; or "
        raise UserError(
            f"{folder} holds another study: {listed(changed)}: {again}go on with what it began "
            f"with by python -m ssl_zoo.study run {folder}, or choose another folder with out=DIR"
        )
    if began.sha() != plan["settings_sha"]:
        raise UserError(f"{folder.settings} was changed since the study was planned: restore it")
    return replace(began, **{knob: getattr(settings, knob) for knob in FREE})


def _supervise(folder: StudyFolder, planned: Planned, stop: Stop) -> None:
    settings, found = planned.settings, folder.read_json(folder.plan)
    pool = pool_of(settings, folder.path, stop)
    with closing(pool), Progress(found, settings.metric, pool.slots) as progress:
        runs = Runs(folder, planned, progress, stop)
        if not any(row.ended for row in runs.trials.rows):
            _check_disk(folder, found["disk_bytes"])
        pace = pace_of(folder, runs, progress, pool.slots)
        engine = Engine(pool, stop, progress, pace.keep)
        _search(folder, runs, engine, pace)
        runs.plan_finals(folder.read_json(folder.selection)["methods"])
        runs.train_lost()
        engine.work_off(lambda: pace.within(FINAL, runs.ready(FINAL)))
        readings = Readings(folder, runs.planned, runs, progress, stop)
        _read(readings, engine)
        _tidy(runs, progress.say)
        pace.save()


def _search(folder: StudyFolder, runs: Runs, engine: Engine, pace: Unhurried) -> None:
    """Trials and reruns, and the seal on what is selected from them."""
    if folder.selection.is_file():
        return
    runs.plan_trials()
    engine.work_off(lambda: pace.within(HPO, runs.ready(HPO)))
    if pace.searches_on():
        runs.plan_trials()
        engine.work_off(lambda: pace.within(HPO, runs.ready(HPO)))
    pace.before_reruns()
    runs.plan_reruns()
    engine.work_off(lambda: runs.ready(RERUN))
    selected = runs.selected()
    if not selected:
        ended = Counter(row.status for row in runs.trials.rows)
        what = ", ".join(f"{count} {status}" for status, count in ended.items())
        raise UserError(
            f"{folder}: no trial of any method has a score ({what}): nothing can be selected; "
            "begin another study with out=DIR, with lower rates or a longer search"
        )
    lost = [method for method in runs.planned.frozen if method not in selected]
    if lost:
        engine.progress.say(f"nothing is selected for {', '.join(lost)}: no trial has a score")
    pace.before_seal()
    seal(folder, selected)
    shown = (f"{m} trial {one['trial']}" for m, one in selected.items())
    engine.progress.say(
        f"the selection is sealed: {', '.join(shown)}; from now on test may be read"
    )


def seal(folder: StudyFolder, selected: dict[str, dict[str, object]]) -> None:
    """Write selection.json; it is not changed after that."""
    content = {
        "format": _FORMAT,
        "sealed": now(),
        "trials_sha": sha_of_file(folder.trials),
        "plan_sha": sha_of_file(folder.plan),
        "methods": selected,
    }
    text = json.dumps(content, sort_keys=True)
    content["seal"] = hashlib.sha256(text.encode()).hexdigest()
    folder.write_json(folder.selection, content)


def _read(readings: Readings, engine: Engine) -> None:
    """Test, once for each: the methods, what they are compared with, and at last the oracle."""
    settings = readings.settings

    def work(made: Callable[[], list[Reading]]) -> None:
        once = made()
        engine.work_off(lambda: readings.ready(once))

    work(readings.of_methods)
    if settings.floors:
        work(readings.of_floors)
    if settings.ceiling:
        work(readings.of_ceiling)
    if settings.oracle:
        work(readings.of_trials)


def _tidy(runs: Runs, say: Callable[[str], None]) -> None:
    """Delete the checkpoints of trials that were not selected, unless all are small."""
    others = runs.checkpoints(selected=False)
    size = sum(path.stat().st_size for path in others)
    if size <= _KEPT_BYTES:
        return
    for path in others:
        path.unlink()
    say(
        f"deleted the last.ckpt of {len(others)} runs of trials that were not selected, "
        f"{size / 1e9:.1f} GB; their config.yaml, metrics and scores stay"
    )


def _check_disk(folder: StudyFolder, needed: int) -> None:
    """Refuse to begin what would fill the disk."""
    free = shutil.disk_usage(folder.path).free
    if needed > free:
        raise UserError(
            f"{folder}: the study writes about {needed / 1e9:.1f} GB of checkpoints, and the disk "
            f"has {free / 1e9:.1f} GB left: choose another folder with out=DIR, or fewer trials"
        )
