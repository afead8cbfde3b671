"""Which trials this process runs next: those that a killed one left behind, then new points."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ssl_zoo.lock import writer_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.search.outcome import Outcome, outcome_of, tell
from ssl_zoo.search.settings import Settings
from ssl_zoo.search.space import Space, what_counts
from ssl_zoo.search.workers import alone, is_working
from ssl_zoo.types import UserError

# What a trial carries: its overrides, who runs it, and in which sweep's folder.
_OVERRIDES, _WORKER, _FOLDER = "overrides", "worker", "folder"


class Job(NamedTuple):
    """A trial that this process runs.

    Attributes:
        number: Of the trial; its run's folder has this name.
        trial: Its id in the storage.
        overrides: Its own.
        run: Its run's folder.
    """

    number: int
    trial: int
    overrides: list[str]
    run: RunFolder


class Claims:
    """What this process takes on; one process takes at a time.

    Args:
        study: The study.
        space: The overrides.
        folder: The sweep's.
        settings: Of the search.
        points: Of a grid; None for another sampler.
        me: This process, see `workers.worker`.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        folder: Path,
        settings: Settings,
        points: int | None,
        me: str,
    ) -> None:
        self.study, self.space, self.folder, self.settings = study, space, folder, settings
        self.points, self.me = points, me
        # a study in the folder moves with it; of another storage several folders may be
        self.home = "" if settings.storage is None else str(folder)
        self.interrupted: set[int] = set()  # while this process ran them

    def take(self) -> list[Job]:
        """Up to `n_jobs` trials; none at the end."""
        with alone(self.folder):
            jobs: list[Job] = []
            for trial in self.study.get_trials(deepcopy=False):
                if len(jobs) < self.settings.n_jobs and self._is_left_behind(trial):
                    jobs += self._taken_over(trial)
            while len(jobs) < self.settings.n_jobs and self._new_ones():
                job = self._claimed(self.study.ask(self.space.knobs))
                if not self._repeats(job):
                    _check_run(job)
                    jobs.append(job)
            return jobs

    def _new_ones(self) -> int:
        """How many points may still be asked for; those that failed are replaced."""
        trials = self.study.get_trials(deepcopy=False)
        free = self.settings.n_trials - sum(one.state != TrialState.FAIL for one in trials)
        if self.points is not None:  # a grid has no others
            free = min(free, self.points - len(trials))
        return max(0, free)

    def _claimed(self, trial: Trial) -> Job:
        overrides = self.space.overrides(trial.params)
        trial.set_user_attr(_OVERRIDES, overrides)
        trial.set_user_attr(_FOLDER, self.home)
        trial.set_user_attr(_WORKER, self.me)
        run = RunFolder(self.folder / str(trial.number))
        return Job(trial.number, trial._trial_id, overrides, run)

    def _repeats(self, job: Job) -> bool:
        """Whether the point has been run already, as happens with choices: it has its value.

        A run is a function of its config, so that to run it again would give the same.
        """
        point = what_counts(job.overrides)
        for one in self.study.get_trials(deepcopy=False):
            ended = one.state in (TrialState.COMPLETE, TrialState.PRUNED)
            if ended and what_counts(one.user_attrs.get(_OVERRIDES, [])) == point:
                print(f"trial {job.number} is trial {one.number} again: not run twice", flush=True)
                value = one.value if one.state == TrialState.COMPLETE else None
                tell(self.study, job.number, job.trial, Outcome("repeated", one.state, value))
                return True
        return False

    def _is_left_behind(self, trial: FrozenTrial) -> bool:
        """Whether nobody runs a trial that has not ended."""
        if trial.state != TrialState.RUNNING or trial.number in self.interrupted:
            return False
        who = trial.user_attrs.get(_WORKER)
        if who is None:  # killed while it asked; of a shared storage it may be anybody's
            return self.settings.storage is None
        if trial.user_attrs[_FOLDER] != self.home or is_working(self.folder, who):
            return False
        return writer_of(self.folder / str(trial.number)) is None

    def _taken_over(self, left: FrozenTrial) -> list[Job]:
        """A trial that is left behind, to go on; or, if its run has ended, to be told only."""
        trial = Trial(self.study, left._trial_id)
        for key, source in self.space.knobs.items():
            trial._suggest(key, source)  # as it is, or what was not asked for yet
        job = self._claimed(trial)
        _check_run(job)
        outcome = outcome_of(job.run, self.settings.objective)
        if outcome.state == TrialState.RUNNING:
            return [job]
        tell(self.study, job.number, job.trial, outcome)
        return []


def _check_run(job: Job) -> None:
    """A run is known by what it is, not by its folder's number.

    Raises:
        UserError: If the folder holds another one.
    """
    found = job.run.read_result().get("overrides")
    if found is None:
        return
    if odd := sorted({*what_counts(found)} ^ {*what_counts(job.overrides)}):
        raise UserError(
            f"{job.run} is not the run of trial {job.number}, {', '.join(odd)} differ: move it away"
        )
