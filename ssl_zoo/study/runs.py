"""The training runs of a study: their rows, their jobs, and what came of them. Imports no torch."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ssl_zoo.metric_names import VAL
from ssl_zoo.provenance import sha_of
from ssl_zoo.run_folder import ENDED, FAILED, RunFolder
from ssl_zoo.study.checks import SOBOL
from ssl_zoo.study.engine import Task
from ssl_zoo.study.folder import FINAL, HPO, METHOD, RERUN, RunRow, StudyFolder
from ssl_zoo.study.ledger import OPENED
from ssl_zoo.study.optuna_points import next_point
from ssl_zoo.study.plan import Planned
from ssl_zoo.study.pool import Work, last_line
from ssl_zoo.study.progress import Progress
from ssl_zoo.study.rows import DONE, PENDING, Key, Table, candidates, filled, key_of, now, ranking
from ssl_zoo.study.space import Value, sobol
from ssl_zoo.training.frozen import PROGRAM
from ssl_zoo.training.machine import Stop
from ssl_zoo.types import UserError

OUTPUT = "output.txt"  # of a run's process, in its folder
_FINAL_SEEDS = 101  # of the first one, beside the study's own
_DEATHS = 3  # of a run's process, before that is what came of it
# What a run says of a disk that takes no more, whatever it was writing.
_FULL = [os.strerror(one).lower() for one in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
_FULL.append("no space left on the disk")
_FEW = 3  # runs that fail for a reason of their own


class Runs:
    """All training runs of a study.

    Args:
        folder: The study's.
        planned: Its methods.
        progress: For a person.
        stop: Whether a signal came.
    """

    def __init__(
        self, folder: StudyFolder, planned: Planned, progress: Progress, stop: Stop
    ) -> None:
        self.folder, self.planned, self.progress, self.stop = folder, planned, progress, stop
        self.settings = planned.settings
        self.trials, self.finals = Table(folder.trials), Table(folder.finals)
        self._deaths: Counter[Key] = Counter()
        self._tell()

    # --- what is to be run ------------------------------------------------------------------------

    def plan_trials(self) -> None:
        """The rows of the search that are known: all of a sequence, else each one in its turn."""
        if self.settings.sampler == SOBOL:
            points = sobol(self.planned.space, self.settings.trials, self.settings.study_seed)
            for number in range(self.settings.trials):  # all methods side by side
                for method in self.planned.frozen:
                    self._plan(HPO, method, number, points[method][number])

    def _ask(self) -> None:
        """The next point of each method whose trials have all ended."""
        for method in self.planned.frozen:
            own = [r for r in self.trials.rows if r.method == method and r.stage == HPO]
            numbers = sorted({row.trial for row in own})
            if len(numbers) == self.settings.trials or any(r.status == PENDING for r in own):
                continue
            ranked = {one.trial: one.score for one in ranking(own, method, self.settings.metric)}
            values = {row.trial: json.loads(row.values) for row in own}
            point = next_point(
                self.planned.space.of(method),
                self.settings.sampler,
                self.settings.study_seed,
                [(values[number], ranked.get(number)) for number in numbers],
                self.settings.metric,
            )
            self._plan(HPO, method, len(numbers), point)

    def plan_reruns(self) -> None:
        """The best configurations of each method, on further seeds."""
        search = [row for row in self.trials.rows if row.stage == HPO]
        for method in self.planned.frozen:
            best = ranking(search, method, self.settings.metric)[: self.settings.rerun["configs"]]
            for one in best:
                for i in range(1, self.settings.rerun["seeds"] + 1):
                    seed = self.settings.study_seed + i
                    self._plan(RERUN, method, one.trial, json.loads(one.values), seed)

    def plan_finals(self, selected: dict[str, dict[str, object]]) -> None:
        """The selected configurations, on seeds of their own, the same for all methods."""
        for i in range(self.settings.seeds):
            for method, one in selected.items():
                seed = self.settings.study_seed + _FINAL_SEEDS + i
                self._plan(FINAL, method, int(one["trial"]), dict(one["values"]), seed)  # type: ignore[call-overload]

    def _plan(
        self,
        stage: str,
        method: str,
        trial: int,
        values: dict[str, Value],
        seed: int | None = None,
    ) -> None:
        table = self.finals if stage == FINAL else self.trials
        text = json.dumps(values)
        number = self.settings.study_seed if seed is None else seed
        rows = [
            RunRow(stage, method, trial, number, fold, text)
            for fold in range(len(self.settings.folds or [None]))
        ]
        table.plan(replace(row, folder=self._place(row)) for row in rows)
        self._tell()

    def _place(self, row: RunRow) -> str:
        seed = f"-seed{row.seed}" if row.stage == RERUN else ""
        name = f"finals/{row.method}/seed{row.seed}"
        if row.stage != FINAL:
            name = f"trials/{row.method}/{row.trial}{seed}"
        return f"{name}/fold{row.fold}" if self.settings.folds else name

    # --- running ----------------------------------------------------------------------------------

    def ready(self, *stages: str) -> Iterator[Task]:
        """The runs of these stages that have not ended."""
        if HPO in stages and self.settings.sampler != SOBOL:
            self._ask()
        table = self.finals if FINAL in stages else self.trials
        for row in table.pending(*stages):
            if self.run_folder(row).read_result().get("status") in DONE:
                self._take(table, key_of(row))  # it ended, and the study was killed before it knew
            else:
                yield self._task(table, key_of(row))

    def _task(self, table: Table, key: Key) -> Task:
        return Task(
            key=key,
            name=table.get(key).folder,
            begin=lambda: self._begin(table, key),
            end=lambda code: self._end(table, key, code),
        )

    def run_folder(self, row: RunRow) -> RunFolder:
        """A run's."""
        return RunFolder(self.folder.path / row.folder)

    def _begin(self, table: Table, key: Key) -> Work:
        """Write the run's frozen config, and what it is into its row."""
        row = table.get(key)
        frozen = self.planned.frozen[row.method]
        folds, run = self.settings.folds, self.run_folder(row)
        fold = folds[row.fold] if folds else None
        name = f"{self.settings.name}_{row.folder.replace('/', '_')}"
        job = frozen.run(run.path, json.loads(row.values), row.seed, fold, name)
        job.write(run.path)
        table.put(
            replace(
                row,
                config_sha=frozen.config_sha(job),
                held_sha=sha_of(frozen.held(job, self.settings.held, self.planned.except_for())),
                started=row.started or now(),
            )
        )
        return Work(PROGRAM, [str(run.path)], run.path / OUTPUT, run.path, job.config)

    def _end(self, table: Table, key: Key, code: int) -> None:
        """What came of a run whose process has ended; one that was stopped stays pending."""
        row = table.get(key)
        if row.status != PENDING:  # its result was seen before its process had ended
            return
        run = self.run_folder(row)
        if self.stop.signum is not None and run.read_result().get("status") == FAILED:
            run.result.unlink()  # a signal to all processes ends the run's data workers first
            return
        if run.read_result().get("status") not in DONE:
            if self.stop.signum is not None:
                return
            self._deaths[key] += 1
            silent = not run.result.exists() and code > 0
            if not silent and self._deaths[key] < _DEATHS:
                return
            error = last_line(run.path / OUTPUT) if code > 0 else f"killed {_DEATHS} times"
            run.fail(error, otherwise={"status": FAILED})
        self._take(table, key)

    def _take(self, table: Table, key: Key) -> None:
        """The row of a run that has ended."""
        run = self.run_folder(table.get(key))
        run.best.unlink(missing_ok=True)  # a study scores last.ckpt
        row = filled(table.get(key), run, self.settings.metric)
        self._check_data(row)
        table.put(row)
        self._tell()
        self.progress.ended(table.get(key))
        self._check_first(table)

    def _check_data(self, row: RunRow) -> None:
        """Stop where images, labels or their split have changed since the study began.

        Raises:
            UserError: Naming the run, which is to be trained again.
        """
        may_differ = {one.partition(".")[0] for one in self.settings.allow_differ}
        alone = bool(may_differ & {"dataset", "data"}) or "dataset" not in self.settings.held
        known = {
            other.data_sha
            for other in [*self.trials.rows, *self.finals.rows]
            if other.fold == row.fold and (other.method == row.method or not alone)
        }
        if not (alone or self.settings.folds):
            known.add(self.folder.read_json(self.folder.plan).get("data", {}).get("sha", ""))
        if not row.data_sha or not known - {""} or row.data_sha in known:
            return
        run = self.run_folder(row)
        run.last.unlink(missing_ok=True)
        run.result.unlink(missing_ok=True)
        raise UserError(
            f"{row.folder} read other images, labels or another split than the study began with: "
            "restore them and go on, or begin another study with out=DIR"
        )

    def train_lost(self) -> None:
        """Let final runs be trained again whose last.ckpt is gone before test was read by it.

        Raises:
            UserError: If test was opened for one.
        """
        read = {
            (entry["method"], entry["seed"]): entry["status"]
            for entry in self.folder.read_ledger()
            if entry["purpose"] == METHOD
        }
        for row in self.finals.rows:
            run = self.run_folder(row)
            if row.stage != FINAL or row.status not in ENDED or run.last.is_file():
                continue
            status = read.get((row.method, row.seed))
            if status is None:
                self.progress.say(f"{row.folder} has no last.ckpt any more: it is trained again")
                self._again(self.finals, [row])
            elif status == OPENED:
                raise UserError(f"{run.last} is gone, and test was opened for it: restore it")

    def _check_first(self, table: Table) -> None:
        """Stop where nothing succeeds, or nothing is measured: that is not what a method can do.

        Raises:
            UserError: With the first error; the runs are then tried again.
        """
        ended = [row for row in table.rows if row.status != PENDING]
        reached = [row for row in ended if row.score is None and row.checkpoint_sha]
        if reached and len(reached) == len(ended):
            self._again(table, reached)
            raise UserError(
                f"metric={self.settings.metric} was not logged by {reached[0].folder}: it logged "
                f"{', '.join(self._logged(reached[0])) or 'nothing of val'}"
            )
        full = [row for row in ended if _is_full(self._error(row))]
        if full:
            self._again(table, full)
            raise UserError(f"{full[0].folder}: {self._error(full[0])}: make room, and go on")
        if len(ended) >= _FEW and all(row.status == FAILED for row in ended):
            error = self._error(ended[0])
            self._again(table, ended)
            raise UserError(f"the first {len(ended)} runs failed, {ended[0].folder} with: {error}")

    def _error(self, row: RunRow) -> str:
        if row.status != FAILED:
            return ""
        return str(self.run_folder(row).read_result().get("error", ""))

    def _logged(self, row: RunRow) -> list[str]:
        return [name for name in self.run_folder(row).read_metrics() if name.startswith(VAL)]

    def _again(self, table: Table, rows: list[RunRow]) -> None:
        """Let runs that failed for a reason that is no result of theirs be run once more."""
        for row in rows:
            self.run_folder(row).result.unlink(missing_ok=True)
            table.put(replace(row, status=PENDING, score=None, ended=""))

    def drop(self, stage: str, these: Callable[[RunRow], bool]) -> None:
        """Take runs of a stage away that have not begun."""
        table = self.finals if stage == FINAL else self.trials
        rows = [row for row in table.pending(stage) if not row.started and these(row)]
        table.drop(map(key_of, rows))
        self._tell()

    def _tell(self) -> None:
        self.progress.stands([*self.trials.rows, *self.finals.rows])

    # --- what is selected -------------------------------------------------------------------------

    def selected(self) -> dict[str, dict[str, object]]:
        """The best configuration of each method that has one, for selection.json."""
        found: dict[str, dict[str, object]] = {}
        for method in self.planned.frozen:
            ranked = candidates(self.trials.rows, method, self.settings.metric)
            if ranked:
                best = ranked[0]
                found[method] = {
                    "trial": best.trial,
                    "values": json.loads(best.values),
                    "config_sha": best.config_sha,
                    "score": best.score,
                    "n": len(best.scores),
                    "s": best.spread,
                }
        return found

    def checkpoints(self, *, selected: bool) -> list[Path]:
        """The last.ckpt of the trials, of those that were selected or of the others."""
        chosen = self.folder.read_json(self.folder.selection).get("methods", {})
        return [
            run.last
            for row in self.trials.rows
            if (chosen.get(row.method, {}).get("trial") == row.trial) is selected
            and (run := self.run_folder(row)).last.is_file()
        ]


def _is_full(error: str) -> bool:
    return any(one in error.lower() for one in _FULL)
