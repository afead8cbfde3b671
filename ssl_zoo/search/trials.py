"""The search itself: take trials on, run them as jobs, tell what came of them; and go on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.study import Study
from optuna.trial import TrialState

from ssl_zoo.config import override
from ssl_zoo.metric_names import OBJECTIVES
from ssl_zoo.multirun import MARK, results_in
from ssl_zoo.search.claims import Claims, Job
from ssl_zoo.search.link import TrialLink
from ssl_zoo.search.outcome import NO_OBJECTIVE, Outcome, outcome_of, tell
from ssl_zoo.search.report import say_best, write_pictures, write_table
from ssl_zoo.search.settings import settings_of
from ssl_zoo.search.space import is_place, space_of
from ssl_zoo.search.study import JOURNAL, NumberedSampler, is_grid, opened, pruner_of
from ssl_zoo.search.workers import worker
from ssl_zoo.types import UserError

_BEGAN = "overrides"  # the study's, as typed
_FEW = 3  # failures that may be chance


class Search:
    """A search in the folder of a multirun.

    Args:
        arguments: The overrides of the command line.
        config: The multirun's, with `hydra`.
        launcher: Of Hydra.
        config_loader: Of Hydra.

    Raises:
        UserError: If it makes no sense.
    """

    def __init__(
        self, arguments: list[str], config: DictConfig, launcher: Any, config_loader: Any
    ) -> None:
        self.config, self.launcher = config, launcher
        self.settings = settings_of(config)
        self.space = space_of([*self.settings.params, *arguments], config_loader)
        self.folder = Path(config.hydra.sweep.dir).absolute()
        grid = self.space.grid() if is_grid(self.settings.sampler) else None
        self.points = math.prod(len(values) for values in grid.values()) if grid else None
        self.sampler = NumberedSampler(self.settings.sampler, grid)
        pruner_of(self.settings.pruner)
        self.storage = self._storage()
        self.ended: list[Outcome] = []

    def _storage(self) -> str:
        given = self.settings.storage
        if given is None:
            return str(self.folder / JOURNAL)
        return given if "://" in given else str(Path(given).expanduser().absolute())

    def run(self) -> None:
        """Run trials until there are `n_trials`, with other processes that do the same.

        Raises:
            UserError: If it cannot go on.
        """
        if self.config.dry_run or self.config.trainer.fast_dev_run:
            return self._try_out()
        own = self.settings.storage is None
        if own and not Path(self.storage).exists() and results_in(self.folder):
            raise UserError(
                f"{self.folder} holds runs, but no {JOURNAL}: it is no search that can go on, "
                "choose another name"
            )
        study = self._study()
        self._check_same(study)
        OmegaConf.save(self.config, self.folder / MARK)
        if there := len(study.get_trials(deepcopy=False)):
            print(f"{self.folder} goes on: {there} trials have begun", flush=True)
        try:
            with worker(self.folder) as me:
                claims = Claims(study, self.space, self.folder, self.settings, self.points, me)
                while jobs := claims.take():
                    self._launch(jobs, study, claims)
        finally:
            write_table(study, self.space, self.folder, self.settings.objective)
        write_pictures(study, self.space, self.folder, self.settings.objective)
        say_best(study, self.space, self.folder, self.settings)

    def _try_out(self) -> None:
        """The first point; nothing is kept of a dry run, so that others would be no news."""
        study = optuna.create_study(direction=self.settings.direction, sampler=self.sampler)
        point = study.ask(self.space.knobs).params
        print(f"the first of {self.settings.n_trials} trials:", flush=True)
        self.launcher.launch([self.space.overrides(point)], initial_job_idx=0)

    def _study(self) -> Study:
        name = "search" if self.settings.storage is None else self.folder.name
        return optuna.create_study(
            storage=opened(self.storage),
            study_name=self.settings.study_name or name,
            direction=self.settings.direction,
            sampler=self.sampler,
            load_if_exists=True,
        )

    def _check_same(self, study: Study) -> None:
        """A search goes on with the overrides that it began with.

        Raises:
            UserError: Naming those that differ.
        """
        now, began = self.space.typed, study.user_attrs.get(_BEGAN)
        if began is None:
            study.set_user_attr(_BEGAN, now)
            began = now
        said = [
            f"{key}={now.get(key, '(not given)')} (was {began.get(key, 'not given')})"
            for key in {**began, **now}
            if began.get(key) != now.get(key) and not is_place(key)
        ]
        if said:
            raise UserError(
                f"{self.folder} holds another search: {', '.join(said)}: repeat what it began "
                "with, or choose another name"
            )
        if (direction := study.direction.name.lower()) != self.settings.direction:
            raise UserError(
                f"hydra.sweeper.direction={self.settings.direction}: this search has begun with "
                f"{direction}: leave it so, or choose another name"
            )

    def _launch(self, jobs: list[Job], study: Study, claims: Claims) -> None:
        """Run trials, and tell what came of them.

        Raises:
            UserError: If too many have failed.
        """
        self.launcher.launch(
            [self._prepared(job, study) for job in jobs], initial_job_idx=jobs[0].number
        )
        for job in jobs:
            outcome = outcome_of(job.run, self.settings.objective)
            if outcome.state == TrialState.RUNNING:  # a signal to its process
                claims.interrupted.add(job.number)
            else:
                tell(study, job.number, job.trial, outcome)
                self.ended.append(outcome)
        write_table(study, self.space, self.folder, self.settings.objective)
        self._check_failures()

    def _prepared(self, job: Job, study: Study) -> list[str]:
        """The overrides of a job, whose run knows its trial; a run that has saved goes on."""
        before = TrialLink.of(job.run.path)
        TrialLink(
            storage=self.storage,
            study=study.study_name,
            trial=job.trial,
            number=job.number,
            objective=self.settings.objective,
            pruner=self.settings.pruner,
            pruned=before.pruned if before else None,
        ).write(job.run.path)
        place = override("hydra.sweep.subdir", str(job.number))
        if not job.run.last.is_file():
            return [*job.overrides, place]
        trust = [one for one in job.overrides if one.startswith("trust=")]
        return [override("resume", str(job.run)), *trust, place]

    def _check_failures(self) -> None:
        failed = [outcome.error for outcome in self.ended if outcome.state == TrialState.FAIL]
        if NO_OBJECTIVE in failed:
            names = " or ".join(metric.name for metric in OBJECTIVES)
            raise UserError(
                f"a search needs an objective, and the run logged none: {names} come of "
                "callbacks=default, with images and labels held out (dataset.val_fraction=0.1)"
            )
        rate = self.settings.max_failure_rate
        few = _FEW if rate else 1
        if len(failed) >= few and len(failed) > rate * len(self.ended):
            raise UserError(
                f"the search stops: {len(failed)} of {len(self.ended)} trials failed, the last "
                f"with: {failed[-1]}"
            )
