"""A study within a budget: how large it is planned, and what is cut while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from helpers.tiers import only
from ssl_zoo.study import clock
from ssl_zoo.study.clock import Clock, seconds_of
from ssl_zoo.study.counts import runs_of
from ssl_zoo.study.engine import Task
from ssl_zoo.study.folder import FINAL, HPO, RERUN, RunRow, StudyFolder
from ssl_zoo.study.of_data import check_folds, few_images
from ssl_zoo.study.pace import Pace, Unhurried, pace_of
from ssl_zoo.study.plan import Planned
from ssl_zoo.study.progress import Progress
from ssl_zoo.study.rows import PENDING, key_of
from ssl_zoo.study.runs import Runs
from ssl_zoo.study.settings import Settings, settings_of
from ssl_zoo.study.sizing import fitted
from ssl_zoo.study.space import Space
from ssl_zoo.training.machine import Stop
from ssl_zoo.types import UserError

# A run is 10 s and 1 s for each epoch, a reading 10 s.
ONE = {"steps": 1000, "seconds_per_step": 0.1, "overhead_seconds": 7.0, "monitor_seconds": 0.0}
EPOCHS = 100


def settings(**knobs: Any) -> Settings:
    methods: dict[str, Any] = {name: {} for name in ("simclr", "moco", "byol", "simsiam")}
    whole = {"trials": 12, "seeds": 5, "oracle": False, "ceiling": False, "budget": "30min"}
    return settings_of({"name": "quick", "methods": methods} | whole | knobs)


def fit(budget: str, slots: int = 1, **knobs: Any) -> tuple[Settings, list[str]]:
    given = settings(budget=budget, **knobs)
    return fitted(given, dict.fromkeys(given.methods, ONE), EPOCHS, 0.0, slots)


def epochs_of(found: Settings) -> int:
    own = [int(o.partition("=")[2]) for o in found.overrides if o.startswith("epochs=")]
    return own[-1] if own else EPOCHS


def cost(found: Settings) -> float:
    """Of all runs and readings, by hand."""
    again = found.rerun["configs"] * found.rerun["seeds"]
    runs = len(found.methods) * (found.trials + again + found.seeds)
    readings = found.seeds * (len(found.methods) + 1)
    return runs * (10 + epochs_of(found)) + readings * 7 + 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30min", 1800), ("2h", 7200), ("90s", 90), ("1h30min", 5400), ("1.5 h", 5400), ("45m", 2700)],
)
def test_a_time_is_read_as_a_person_writes_it(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", 30, "soon", "", "0min", "5 parsecs", "-5min", True])
def test_a_budget_that_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(UserError, match="give a time with its unit, as in 30min"):
        seconds_of(text)


def test_seconds_are_no_budget() -> None:
    with pytest.raises(UserError, match=r"budget=10s is too short.*give budget=5min"):
        settings(budget="10s")


def test_a_search_that_depends_on_scores_has_no_budget() -> None:
    with pytest.raises(UserError, match=r"sampler=tpe.*give sampler=sobol, or budget=null"):
        settings(sampler="tpe")


@pytest.mark.parametrize("minutes", only([30], [10, 15, 30, 60, 90, 180, 600]))
def test_a_study_is_as_large_as_its_budget(minutes: int) -> None:
    found, notes = fit(f"{minutes}min")
    assert cost(found) <= 60 * minutes
    full = settings()
    at_most = found.trials <= full.trials and found.seeds <= full.seeds
    assert at_most
    assert epochs_of(found) <= EPOCHS
    assert len(found.methods) >= 2
    if any("fewer" in note for note in notes) and epochs_of(found) < EPOCHS:
        assert cost(found) > 0.85 * 60 * minutes  # what an epoch more would not fit into
    lost = [name for name in full.methods if name not in found.methods]
    assert any("left out" in note and ", ".join(lost) in note for note in notes) == bool(lost)


@pytest.mark.slow
def test_more_time_never_makes_a_smaller_study() -> None:
    runs = [
        len(found.methods) * (found.trials + found.seeds)
        for minutes in (10, 20, 40, 80, 160, 320)
        for found, _ in [fit(f"{minutes}min")]
    ]
    assert runs == sorted(runs)
    assert fit("100h")[0] == settings(budget="100h")


def test_epochs_that_were_asked_for_stay() -> None:
    given = replace(settings(budget="60min"), overrides=["epochs=100"])
    found, _ = fitted(given, dict.fromkeys(given.methods, ONE), EPOCHS, 0.0, 1)
    assert found.overrides == ["epochs=100"]
    assert cost(found) <= 3600
    assert len(found.methods) < 4


def test_methods_that_were_not_measured_are_left_out() -> None:
    given = settings(budget="10h")
    found, notes = fitted(given, {"simclr": ONE, "moco": ONE}, EPOCHS, 0.0, 1)
    assert list(found.methods) == ["simclr", "moco"]
    assert "left out for the budget, not for their scores: byol, simsiam" in notes


def test_what_fits_nothing_is_refused_with_what_would() -> None:
    with pytest.raises(UserError, match=r"budget=2min is too short.*give budget=(\d+)min") as error:
        fit("2min")
    minutes = str(error.value).partition("give budget=")[2].partition("min")[0]
    assert fit(f"{minutes}min")


# ---- while it runs ----


class Study:
    """A study of two methods with runs that take as long as a test says."""

    def __init__(self, place: Path, watch: list[float], **knobs: Any) -> None:
        self.folder, self.watch = StudyFolder(place), watch
        methods: dict[str, Any] = {"a": {}, "b": {}}
        rerun = {"configs": 0, "seeds": 0}
        given = {"trials": 6, "seeds": 3, "rerun": rerun, "epochs": None} | knobs
        given.pop("epochs")
        self.settings = replace(settings(**given), methods=methods)
        plan = {
            "name": "quick",
            "methods": dict.fromkeys(methods, ONE | {"epochs": EPOCHS, "monitorings": 1}),
            "runs": runs_of(self.settings),
            "given": {"seeds": 5, "trials": 9},
        }
        self.folder.write_json(self.folder.plan, plan)
        self.open()

    def open(self) -> None:
        """As a supervisor does that is started, again after a kill."""
        frozen = cast(Any, dict.fromkeys(self.settings.methods))
        planned = Planned(self.settings, Space([], {name: [] for name in frozen}), frozen)
        plan = self.folder.read_json(self.folder.plan)
        progress = Progress(plan, self.settings.metric, 1)
        self.runs = Runs(self.folder, planned, progress, Stop())
        self.pace = pace_of(self.folder, self.runs, progress, 1)

    def restart(self, spent: float) -> None:
        """By a supervisor that finds these seconds spent, and no run of its own to judge by."""
        self.folder.write_json(self.folder.budget, {"seconds": spent, "cuts": []})
        self.open()

    def search(self, seconds: float, most: int = 99) -> None:
        self.runs.plan_trials()
        self._work(HPO, seconds, most)

    def finish(self, seconds: float, most: int = 99) -> None:
        chosen: Any = {name: {"trial": 0, "values": {}} for name in self.settings.methods}
        self.runs.plan_finals(chosen)
        self._work(FINAL, seconds, most)

    def _work(self, stage: str, seconds: float, most: int) -> None:
        for _ in range(most):
            self.pace.keep()
            task = next(iter(self.pace.within(stage, self.ready(stage))), None)
            if task is None:
                break
            table = self.runs.finals if stage == FINAL else self.runs.trials
            self.watch[0] += seconds
            row = table.get(cast(Any, task.key))
            table.put(replace(row, status="finished", score=0.5, started="now", seconds=seconds))

    def ready(self, stage: str) -> Iterator[Task]:
        table = self.runs.finals if stage == FINAL else self.runs.trials
        for row in table.pending(stage):
            yield Task(key_of(row), row.folder, cast(Any, None), cast(Any, None))

    def count(self, stage: str) -> list[int]:
        """Of each method."""
        rows = self.runs.finals.rows if stage == FINAL else self.runs.trials.rows
        every = [row for row in rows if row.stage == stage]
        assert all(row.status != PENDING for row in every)
        return [sum(row.method == name for row in every) for name in self.settings.methods]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which tests move."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    return now


def cuts(study: Study) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(study.folder.budget.read_text())["cuts"]
    return found


def test_runs_as_fast_as_measured_are_all_done(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(110)
    study.pace.before_seal()
    study.finish(110)
    assert study.count(HPO) == [6, 6]
    assert study.count(FINAL)[0] >= 3
    assert watch[0] - 1000 < 45 * 60


def test_slow_runs_end_the_search_for_all_methods_at_once(
    tmp_path: Path, watch: list[float]
) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(200)
    trials = study.count(HPO)
    assert trials[0] == trials[1]
    assert 2 <= trials[0] < 6
    study.pace.before_seal()
    study.finish(200)
    assert len(set(study.count(FINAL))) == 1
    assert watch[0] - 1000 <= 45 * 60 * 1.1
    assert f"{trials[0]} instead of 6 trials for each method" in cuts(study)[0]["why"]
    assert study.runs.settings.trials == trials[0]


def test_the_speed_is_that_of_the_runs(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="10h")
    assert isinstance(study.pace, Pace)
    assert study.pace.slowness() == 1.0
    study.search(220, most=4)
    planned = 10 + 0.1 * 1000
    assert study.pace.slowness() == pytest.approx(220 / planned)


def test_time_that_is_left_goes_to_final_seeds(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="60min")
    study.search(60)
    study.pace.before_seal()
    assert study.runs.settings.seeds == 5  # no more than the study's file has
    study.finish(60)
    assert study.count(FINAL) == [5, 5]


def test_time_that_is_left_goes_to_the_search_first(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(60)
    assert study.pace.searches_on()
    study.search(60)
    trials = study.count(HPO)
    assert trials[0] == trials[1] == 9  # the study's file has no more
    assert not study.pace.searches_on()
    study.open()
    study.runs.plan_trials()
    assert study.count(HPO) == trials


def test_a_search_that_ended_early_does_not_go_on(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(200)
    assert not study.pace.searches_on()


def test_finals_that_are_faster_than_the_search_go_on(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(200)
    study.pace.before_seal()
    study.finish(30, most=2)
    assert study.pace.progress.plan["runs"]["final"] == 2 * 4  # if all were as slow as the search
    study.finish(30)
    assert study.count(FINAL) == [5, 5]
    assert study.pace.progress.plan["runs"]["final"] == 2 * 5


def test_finals_end_with_a_seed_that_all_have(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(110)
    study.pace.before_seal()
    study.finish(500)
    assert study.count(FINAL) == [2, 2]


def rest_of(found: Settings) -> float:
    """Seconds after the search, by hand."""
    return cost(replace(found, trials=0))


@pytest.mark.parametrize(("had", "begins"), [(100, True), (0, False)])
def test_a_run_under_way_needs_only_what_it_has_not_had(
    tmp_path: Path, watch: list[float], had: int, begins: bool
) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(110, most=5)
    next_round, left_over = 2 * 110, 40
    left = rest_of(study.settings) + next_round + left_over  # a whole run is more than 40 s
    study.restart(45 * 60 - left - had)
    watch[0] += had
    running = study.runs.trials.pending(HPO)[0]
    started = (datetime.now(timezone.utc) - timedelta(seconds=had)).isoformat()
    study.runs.trials.put(replace(running, started=started))
    fourth = [task for task in study.ready(HPO) if cast(Any, task.key)[2] == 3]
    assert len(list(study.pace.within(HPO, fourth))) == (len(fourth) if begins else 0)


@pytest.mark.parametrize(("late", "seeds"), [(0.04, 3), (0.06, 2)])
def test_the_last_round_may_end_a_twentieth_of_the_budget_late(
    tmp_path: Path, watch: list[float], late: float, seeds: int
) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(110)
    study.finish(110, most=4)
    last = rest_of(study.settings) - 2 * 2 * 110  # two of its three seeds have been run
    study.restart(45 * 60 * (1 + late) - last)
    study.finish(110)
    assert study.count(FINAL) == [seeds, seeds]


def test_a_study_that_was_killed_knows_its_cuts_and_its_time(
    tmp_path: Path, watch: list[float]
) -> None:
    study = Study(tmp_path, watch, budget="45min")
    study.search(200, most=3)  # in the second round
    watch[0] += 1e6  # a pause is no work
    study.open()
    assert 400 <= Clock(study.folder).spent() <= 600
    study.search(200)
    trials = study.count(HPO)
    assert trials[0] == trials[1] < 6
    study.open()
    assert study.runs.settings.trials == trials[0]
    study.runs.plan_trials()
    assert study.count(HPO) == trials
    assert isinstance(study.pace, Pace)
    assert Clock(study.folder).spent() < 45 * 60


def test_reruns_are_left_out_where_finals_would_be(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget="40min", trials=4, rerun={"configs": 3, "seeds": 2})
    study.search(500)
    study.pace.before_reruns()
    study.runs.plan_reruns()
    assert study.count(HPO) == [2, 2]
    assert [row for row in study.runs.trials.rows if row.stage == RERUN] == []
    assert study.runs.settings.rerun == {"configs": 0, "seeds": 0}


def test_without_a_budget_nothing_is_cut(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch, budget=None)
    study.search(10_000)
    assert type(study.pace) is Unhurried
    assert study.count(HPO) == [6, 6]
    assert not study.folder.budget.exists()


@pytest.mark.parametrize(("signum", "status"), [(None, "failed"), (15, PENDING)])
def test_a_run_that_fails_as_the_study_is_stopped_is_run_again(
    tmp_path: Path, watch: list[float], signum: int | None, status: str
) -> None:
    """Such as by a scheduler's signal to all processes, which the data workers do not survive."""
    study = Study(tmp_path, watch)
    study.runs.plan_trials()
    task = next(iter(study.runs.ready(HPO)))
    row = study.runs.trials.get(cast(Any, task.key))
    run = study.runs.run_folder(row)
    run.path.mkdir(parents=True)
    run.write_result({"status": "failed", "error": "DataLoader worker exited unexpectedly"})
    study.runs.stop.signum = signum
    task.end(1)
    assert study.runs.trials.get(cast(Any, task.key)).status == status
    assert run.result.exists() == (signum is None)


# ---- what the data allow ----


def test_folds_that_the_classes_do_not_give_are_refused() -> None:
    folds = [f"dataset.fold={i}" for i in range(4)]
    study = replace(settings(), folds=folds)
    data = {"classes": list("abcdefghij")}
    check_folds(study, {"simclr": {"folds": 4, "data": data}})
    with pytest.raises(
        UserError, match=r"the 10 classes.*make 2 .*dataset.fold=0,dataset.fold=1\]"
    ):
        check_folds(study, {"simclr": {"folds": 2, "data": data}})
    with pytest.raises(UserError, match=r"give dataset\.class_split=hash"):
        check_folds(study, {"simclr": {"folds": 0, "data": data}})


def test_few_images_are_said() -> None:
    (line,) = few_images({"train": 200, "val": 48, "test": 5000})
    assert line.startswith("val has 48 images: a score on it is ±14 points")
    assert few_images({"train": 10, "val": 5000, "test": None}) == []


def test_rows_of_a_table_that_is_cut_stay_in_order(tmp_path: Path, watch: list[float]) -> None:
    study = Study(tmp_path, watch)
    study.runs.plan_trials()
    begun = study.runs.trials.rows[-1]
    study.runs.trials.put(replace(begun, started="now"))

    def later(row: RunRow) -> bool:
        return row.trial >= 4

    study.runs.drop(HPO, later)
    kept = [(row.method, row.trial) for row in study.runs.trials.rows]
    assert kept == [(m, t) for t in range(4) for m in ("a", "b")] + [("b", 5)]
