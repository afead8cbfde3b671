"""Keeps a running study within its budget: what is cut is cut for all methods. Imports no torch.

The search ends after a whole round, a trial of each method, so that the rest still fits. Before the
seal the final seeds are counted anew; the finals end after a seed that all methods have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ssl_zoo.console import duration
from ssl_zoo.study.clock import Clock, cut_settings, seconds_of
from ssl_zoo.study.counts import runs_of
from ssl_zoo.study.engine import Task
from ssl_zoo.study.folder import FINAL, HPO, RERUN, RunRow, StudyFolder
from ssl_zoo.study.progress import Progress
from ssl_zoo.study.rows import PENDING, key_of
from ssl_zoo.study.runs import Runs
from ssl_zoo.study.sizing import REPORT, Costs, costs_of

_LEAST = {HPO: 2, FINAL: 2}  # rounds that no budget takes away
_KNOBS = ("trials", "seeds")
_LATE = 0.05  # of the budget, by which the last round may end late: it would leave more unused
_SLOWEST, _FASTEST = 20.0, 0.2  # of the measured speed, that is believed


class Unhurried:
    """A study without a budget."""

    def within(self, stage: str, tasks: Iterable[Task]) -> Iterable[Task]:
        """All of them."""
        return tasks

    def searches_on(self) -> bool:
        """There are no more trials than planned."""
        return False

    def before_reruns(self) -> None:
        """Nothing is cut."""

    def before_seal(self) -> None:
        """Nothing is cut."""

    def keep(self) -> None:
        """Nothing is kept."""

    def save(self) -> None:
        """Nothing is kept."""


class Pace(Unhurried):
    """A study with a budget.

    Args:
        folder: The study's.
        runs: Its runs, whose settings become those with the cuts.
        progress: For a person.
        slots: Runs at once.
        clock: Since the study began.
        most: Trials and final seeds, if there is time for more than were planned.
    """

    def __init__(
        self,
        folder: StudyFolder,
        runs: Runs,
        progress: Progress,
        slots: int,
        clock: Clock,
        most: Mapping[str, int],
    ) -> None:
        self.runs, self.progress, self.slots, self.clock = runs, progress, slots, clock
        self.most = most
        plan = folder.read_json(folder.plan)["methods"]
        self.costs: Costs = costs_of(plan, next(iter(plan.values()))["epochs"])
        self.epochs = next(iter(plan.values()))["epochs"]
        self._seconds = seconds_of(runs.settings.budget)
        self._begun, self._ended = clock.spent(), {row.folder for row in self._done()}
        self._apply()

    # --- what is known ----------------------------------------------------------------------------

    def _done(self) -> list[RunRow]:
        rows = [*self.runs.trials.rows, *self.runs.finals.rows]
        return [row for row in rows if row.status != PENDING and row.stage in (HPO, RERUN, FINAL)]

    def _cost(self, method: str) -> float:
        return self.costs.run(method, self.epochs)

    def slowness(self) -> float:
        """How much longer runs take than was measured, side by side as they are."""
        ended = [row for row in self._done() if row.folder not in self._ended]
        if len(ended) < self.slots:
            return 1.0
        under_way = (self.slots - 1) / 2 * max(map(self._cost, self.runs.planned.frozen))
        planned = (sum(self._cost(row.method) for row in ended) + under_way) / self.slots
        return min(max((self.clock.spent() - self._begun) / planned, _FASTEST), _SLOWEST)

    def _of_rest(self, seeds: int, reruns: bool) -> float:
        """Seconds from the end of the search to the report."""
        settings, methods = self.runs.settings, list(self.runs.planned.frozen)
        folds = len(settings.folds or [None])
        again = min(settings.rerun["configs"], settings.trials) * settings.rerun["seeds"] * reruns
        runs = sum(self._cost(method) for method in methods) * folds * (again + seeds)
        readings = [self.costs.reading[method] for method in methods]
        total = runs + seeds * sum(readings) + seeds * max(readings) * settings.floors
        total += seeds * 1.5 * max(map(self._cost, methods)) * settings.ceiling
        total += settings.trials * sum(readings) * settings.oracle
        return self.slowness() * total / self.slots + REPORT

    def _left(self) -> float:
        return self._seconds - self.clock.spent()

    def _of_rows(self, rows: Iterable[RunRow]) -> float:
        return sum(map(self._still, rows)) / self.slots

    def _still(self, row: RunRow) -> float:
        """Seconds that a run needs, without those that it has had."""
        whole = self.slowness() * self._cost(row.method)
        if not row.started:
            return whole
        running = (datetime.now(timezone.utc) - datetime.fromisoformat(row.started)).total_seconds()
        return max(whole - min(running, self.clock.spent() - self._begun), 0.0)

    # --- what is cut ------------------------------------------------------------------------------

    def within(self, stage: str, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks of rounds that there is time for; a round that has begun is ended.

        Args:
            stage: hpo or final.
            tasks: Those that are ready, in the order of their rounds.
        """
        if stage == FINAL:
            self._expect()
        for task in tasks:
            number = self._round(task.key)
            if not self._may_begin(stage, number):
                self._end_at(stage, number)
                return
            yield task

    def _expect(self) -> None:
        """Let what a person sees count the final seeds that should fit."""
        most = range(_LEAST[FINAL], self.runs.settings.seeds)
        seeds = next((n for n in most if not self._may_begin(FINAL, n)), self.runs.settings.seeds)
        runs = runs_of(replace(self.runs.settings, seeds=seeds))
        self.progress.plan = {**self.progress.plan, "runs": runs}

    def _may_begin(self, stage: str, number: int) -> bool:
        return (
            number < _LEAST[stage]
            or self._has_begun(stage, number)
            or self._has_time(stage, number)
        )

    def _rows(self, stage: str) -> list[RunRow]:
        table = self.runs.finals if stage == FINAL else self.runs.trials
        return [row for row in table.rows if row.stage == stage]

    def _round(self, key: Any) -> int:
        stage, _, trial, seed, _ = key
        if stage == HPO:
            return int(trial)
        return sorted({row.seed for row in self._rows(FINAL)}).index(seed)

    def _has_begun(self, stage: str, number: int) -> bool:
        return any(row.started for row in self._rows(stage) if self._round(key_of(row)) == number)

    def _has_time(self, stage: str, number: int) -> bool:
        """For this round, what is left of those before it, and what comes after the stage."""
        rows = [row for row in self._rows(stage) if row.status == PENDING]
        now = self._of_rows(row for row in rows if self._round(key_of(row)) <= number)
        if stage == HPO:
            return now + self._of_rest(self.runs.settings.seeds, reruns=True) <= self._left()
        rest = self._of_rest(0, reruns=False) + self._of_readings(number + 1)
        return now + rest <= self._left() + _LATE * self._seconds

    def _of_readings(self, seeds: int) -> float:
        return (
            self._of_rest(seeds, reruns=False)
            - self._of_rest(0, reruns=False)
            - self._of_finals(seeds)
        )

    def _of_finals(self, seeds: int) -> float:
        settings = self.runs.settings
        every = sum(map(self._cost, self.runs.planned.frozen)) * len(settings.folds or [None])
        return self.slowness() * every * seeds / self.slots

    def _end_at(self, stage: str, number: int) -> None:
        """Take the rounds from this one on away from all methods."""
        knob = "trials" if stage == HPO else "seeds"
        was = getattr(self.runs.settings, knob)
        what = "trials" if stage == HPO else "final seeds"
        self._cut({knob: number}, f"{number} instead of {was} {what} for each method")

    def searches_on(self) -> bool:
        """With more trials for each method, if runs were faster than measured."""
        settings = self.runs.settings
        spare = self._left() - self._of_rest(settings.seeds, reruns=True)
        one = self._of_finals(1)  # a round takes as long
        more = min(self.most["trials"] - settings.trials, int(spare / one))
        if more < 1 or any("trials" in cut["settings"] for cut in self.clock.cuts):
            return False
        number = settings.trials + more
        was = f"instead of {settings.trials} trials for each method"
        self._cut({"trials": number}, f"there is time for {number} {was}")
        return True

    def before_reruns(self) -> None:
        """Without reruns where there is no time for them."""
        settings = self.runs.settings
        if settings.rerun["configs"] and self._of_rest(_LEAST[FINAL], reruns=True) > self._left():
            self._cut(
                {"rerun": {"configs": 0, "seeds": 0}}, "nothing is run again before the selection"
            )

    def before_seal(self) -> None:
        """All final seeds that the study's file has: they end where the time does."""
        planned, most = self.runs.settings.seeds, self.most["seeds"]
        if planned < most:
            what = f"up to {most} instead of {planned} final seeds for each method, as time allows"
            self._cut({"seeds": most}, what)

    def _cut(self, settings: dict[str, Any], what: str) -> None:
        why = f"budget={self.runs.settings.budget}: after {duration(self.clock.spent())}, {what}"
        self.clock.cut(settings, why)
        self.progress.say(why)
        self._apply()

    def _apply(self) -> None:
        """The cuts into the settings, the tables and what a person sees."""
        runs = self.runs
        runs.settings = with_cuts(runs.settings, self.clock.cuts)
        runs.planned = replace(runs.planned, settings=runs.settings)
        runs.drop(HPO, lambda row: row.trial >= runs.settings.trials)
        seeds = sorted({row.seed for row in self._rows(FINAL)})[: runs.settings.seeds]
        runs.drop(FINAL, lambda row: row.seed not in seeds)
        self.progress.plan = {**self.progress.plan, "runs": runs_of(runs.settings)}

    def keep(self) -> None:
        """The seconds that were spent until now."""
        self.clock.keep()

    def save(self) -> None:
        """The seconds that were spent."""
        self.clock.save()


def with_cuts(settings: Any, cuts: Sequence[dict[str, Any]]) -> Any:
    """A study's settings with what was cut."""
    return replace(settings, **cut_settings({}, list(cuts)))


def pace_of(folder: StudyFolder, runs: Runs, progress: Progress, slots: int) -> Unhurried:
    """Of a study with a budget or without."""
    if runs.settings.budget is None:
        return Unhurried()
    given = folder.read_json(folder.plan).get("given") or {}
    most = {knob: int(given.get(knob, getattr(runs.settings, knob))) for knob in _KNOBS}
    return Pace(folder, runs, progress, slots, Clock(folder), most)
