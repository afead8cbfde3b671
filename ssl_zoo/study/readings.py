"""The readings of test: each written into the ledger before, and done once. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any

from ssl_zoo.config.groups import own_folders
from ssl_zoo.config.quoting import override
from ssl_zoo.provenance import code_version, library_versions
from ssl_zoo.run_folder import ENDED, RunFolder
from ssl_zoo.sealing import STUDY, TOKEN, token_of
from ssl_zoo.study.engine import Task
from ssl_zoo.study.folder import (
    CEILING,
    FINAL,
    FLOOR,
    HPO,
    METHOD,
    ORACLE,
    RunRow,
    Score,
    StudyFolder,
    write_rows,
)
from ssl_zoo.study.ledger import FAILED, OPENED, READ, Ledger
from ssl_zoo.study.plan import Planned
from ssl_zoo.study.pool import Work, last_line
from ssl_zoo.study.progress import Progress
from ssl_zoo.study.rows import PENDING, Key, key_of, now, sha_of_file
from ssl_zoo.study.runs import OUTPUT, Runs
from ssl_zoo.study.scores import SUPERVISED, result_file, scores_of
from ssl_zoo.training.machine import Stop

_PROGRAM = "ssl_zoo.evaluate"
_FLOORS = "floors"
_TRIES = 3  # of an evaluation that ends with an error, or is killed


@dataclass(frozen=True)
class Reading:
    """One look at test.

    Attributes:
        entries: Its lines in the ledger, one for each fold.
        args: Of evaluate.py.
    """

    entries: list[dict[str, Any]]
    args: list[str]

    @property
    def id(self) -> str:
        """Of its first line."""
        return str(self.entries[0]["id"])


class Readings:
    """All readings of a study whose selection is sealed.

    Args:
        folder: The study's.
        planned: Its methods.
        runs: Its runs.
        progress: For a person.
        stop: Whether a signal came.
    """

    def __init__(
        self, folder: StudyFolder, planned: Planned, runs: Runs, progress: Progress, stop: Stop
    ) -> None:
        self.folder, self.planned, self.runs = folder, planned, runs
        self.progress, self.stop, self.settings = progress, stop, planned.settings
        self.ledger = Ledger(folder)
        self._tries: Counter[str] = Counter()
        for purpose in (METHOD, FLOOR, CEILING, ORACLE):
            progress.readings[purpose] = self._count(purpose)
        self._write_scores()

    # --- which there are --------------------------------------------------------------------------

    def of_methods(self) -> list[Reading]:
        """Each final run by all protocols."""
        finals = [row for row in self.runs.finals.rows if row.stage == FINAL]
        groups: dict[tuple[str, int], list[RunRow]] = {}
        for row in finals:
            groups.setdefault((row.method, row.seed), []).append(row)
        suites = self.settings.protocols
        return [
            self._of_runs(METHOD, rows, f"{method}-seed{seed}", suites)
            for (method, seed), rows in groups.items()
            if all(row.status in ENDED for row in rows)
        ]

    def of_trials(self) -> list[Reading]:
        """Each trial by the headline protocol, where its checkpoint is there."""
        groups: dict[tuple[str, int], list[RunRow]] = {}
        for row in self.runs.trials.rows:
            if row.stage == HPO:
                groups.setdefault((row.method, row.trial), []).append(row)
        suites = self.settings.protocols[:1]
        return [
            self._of_runs(ORACLE, rows, f"{method}-{trial}", suites)
            for (method, trial), rows in groups.items()
            if all(self.runs.run_folder(row).last.is_file() for row in rows)
            and all(row.status in ENDED for row in rows)
        ]

    def _of_runs(
        self, purpose: str, rows: list[RunRow], name: str, suites: Sequence[str]
    ) -> Reading:
        several = len(rows) > 1
        folder = str(Path(rows[0].folder).parent) if several else rows[0].folder
        entries = [
            self._entry(
                f"{purpose}-{name}" + (f"-fold{row.fold}" if several else ""),
                purpose,
                row,
                list(suites),
                folder,
            )
            for row in rows
        ]
        paths = [str((self.folder.path / row.folder).absolute()) for row in rows]
        ckpt = f"ckpt={json.dumps(paths)}" if several else override("ckpt", paths[0])
        args = [ckpt, f"protocol=[{','.join(suites)}]", "baselines=false", f"seed={rows[0].seed}"]
        trust = self.planned.frozen[rows[0].method].trust
        if trust:
            args.append(f"trust=[{','.join(trust)}]")
        if several:
            args.append(self._out(folder))
        return Reading(entries, [*self._searched(), *args])

    def of_floors(self) -> list[Reading]:
        """Random weights and raw pixels, for each final seed."""
        suites = self.settings.protocols
        return [
            self._untrained(FLOOR, _FLOORS, seed, suites, ["baselines=true"])
            for seed in self._seeds()
        ]

    def of_ceiling(self) -> list[Reading]:
        """Supervised training from random weights, on all labels, for as many epochs."""
        jobs = [frozen.job.config for frozen in self.planned.frozen.values()]
        knobs = ["fractions=[1.0]", f"epochs=[{max(job['epochs'] for job in jobs)}]"]
        more = ["baselines=false", *(f"protocol.finetune.{knob}" for knob in knobs)]
        return [
            self._untrained(CEILING, SUPERVISED, seed, ["finetune"], more) for seed in self._seeds()
        ]

    def _untrained(
        self, purpose: str, method: str, seed: int, suites: Sequence[str], more: list[str]
    ) -> Reading:
        """Of `ckpt=random`, on the data set and with the backbone that the plan has frozen."""
        folder = f"finals/{method}/seed{seed}"
        row = RunRow(purpose, method, -1, seed)
        entry = self._entry(f"{purpose}-seed{seed}", purpose, row, list(suites), folder)
        args = ["ckpt=random", "dataset=study", "backbone=study", f"seed={seed}"]
        args += [f"protocol=[{','.join(suites)}]", self._out(folder), *more]
        trust = next(iter(self.planned.frozen.values())).trust
        if trust:
            args.append(f"trust=[{','.join(trust)}]")
        return Reading([entry], [*self._searched(), *args])

    def _out(self, folder: str) -> str:
        return override("out", str((self.folder.path / folder / "evaluation").absolute()))

    def _seeds(self) -> list[int]:
        return sorted({row.seed for row in self.runs.finals.rows if row.stage == FINAL})

    def _searched(self) -> list[str]:
        """Where evaluate.py finds the frozen data set, and the user's own options."""
        ours = f"file://{(self.folder.configs / 'conf').absolute()}"
        return [f"hydra.searchpath={json.dumps([ours, *own_folders])}"]

    def _entry(
        self, reading: str, purpose: str, row: RunRow, suites: list[str], folder: str
    ) -> dict[str, Any]:
        text = json.dumps([row.method, self.planned.settings.sha()])
        return {
            "id": reading,
            "purpose": purpose,
            "method": row.method,
            "trial": row.trial,
            "seed": row.seed,
            "fold": row.fold,
            "suites": suites,
            "folder": folder,
            "config_sha": row.config_sha or hashlib.sha256(text.encode()).hexdigest(),
            "checkpoint_sha": row.checkpoint_sha,
            "selection_sha": sha_of_file(self.folder.selection),
        }

    # --- doing them -------------------------------------------------------------------------------

    def ready(self, readings: Sequence[Reading]) -> Iterator[Task]:
        """Those that were not done."""
        for one in readings:
            if not all(self.ledger.is_closed(entry["id"]) for entry in one.entries):
                yield Task(one.id, one.id, lambda r=one: self._begin(r), self._ender(one))  # type: ignore[misc]

    def _ender(self, reading: Reading) -> Any:
        begun = time()
        return lambda code: self._end(reading, code, time() - begun)

    def _begin(self, reading: Reading) -> Work:
        """Write the opening into the ledger, then let evaluate.py start."""
        again = [one for one in reading.entries if self.ledger.last(one["id"])]
        if again and not self._tries[reading.id]:
            self.progress.say(f"{reading.id} was opened and not finished: the same reading again")
        for entry in reading.entries:
            if not self.ledger.is_closed(entry["id"]):
                self.ledger.append(entry | {"status": OPENED})
        last = next(e for e in reading.entries if not self.ledger.is_closed(e["id"]))
        env = {STUDY: str(self.folder.path.absolute()), TOKEN: token_of(last)}
        output = self.folder.path / reading.entries[0]["folder"] / f"evaluation_{OUTPUT}"
        config = next(iter(self.planned.frozen.values())).job.config
        return Work(_PROGRAM, reading.args, output, None, config | {"devices": 1}, env)

    def _end(self, reading: Reading, code: int, seconds: float) -> None:
        """Close the ledger's lines; a reading that was stopped stays open, and is repeated."""
        first = reading.entries[0]
        files = [result_file(self.folder, first, suite) for suite in first["suites"]]
        if code == 0 and all(file.is_file() for file in files):
            self._close(reading, READ)
            if first["purpose"] == CEILING:
                self._keep_ceiling(first, seconds)
            self.progress.readings[first["purpose"]] = self._count(first["purpose"])
            self.progress.say(f"{reading.id}: {self._in_words(first)}")
            return
        if self.stop.signum is not None:
            return
        self._tries[reading.id] += 1
        if self._tries[reading.id] >= _TRIES:
            output = self.folder.path / first["folder"] / f"evaluation_{OUTPUT}"
            why = last_line(output) if code > 0 else f"killed by signal {-code}"
            self._close(reading, FAILED, why)
            self.progress.say(f"{reading.id} failed: {why}")

    def _close(self, reading: Reading, status: str, error: str = "") -> None:
        for entry in reading.entries:
            if not self.ledger.is_closed(entry["id"]):
                more = {"status": status} | ({"error": error} if error else {})
                self.ledger.append(entry | more)
        self._write_scores()

    def _count(self, purpose: str) -> int:
        return sum(e["purpose"] == purpose and e["status"] == READ for e in self.ledger.entries)

    def _write_scores(self) -> None:
        self.scores = scores_of(self.folder, self.ledger.entries)
        if self.scores:
            write_rows(self.folder.results, self.scores, Score)

    def _in_words(self, entry: dict[str, Any]) -> str:
        """The headlines of a reading."""
        own = [s for s in self.scores if s.reading == entry["id"] and s.is_headline]
        return ", ".join(f"{s.method} {s.suite} {100 * s.value:.1f}%" for s in own) or "read"

    def _keep_ceiling(self, entry: dict[str, Any], seconds: float) -> None:
        """The supervised run as a row of finals.csv, with a result.json as other runs have."""
        row = RunRow(CEILING, SUPERVISED, -1, entry["seed"], folder=entry["folder"])
        run = RunFolder(self.folder.path / entry["folder"])
        scores = [s for s in self.scores if s.reading == entry["id"]]
        metrics = {s.metric: s.value for s in scores}
        first = next(iter(self.folder.read_json(self.folder.plan)["methods"].values()))
        run.write_result(
            {
                "status": ENDED[0],
                "seed": entry["seed"],
                "seconds": round(seconds, 1),
                "metrics": metrics,
            }
        )
        on_val = [value for name, value in metrics.items() if name.startswith("val_top1")]
        key: Key = key_of(row)
        self.runs.finals.plan([replace(row, status=PENDING)])
        self.runs.finals.put(
            replace(
                self.runs.finals.get(key),
                status=ENDED[0],
                score=on_val[0] if on_val else None,
                config_sha=entry["config_sha"],
                code=code_version(),
                versions=json.dumps(library_versions(), sort_keys=True),
                device=first["device"],
                epochs=first["epochs"],
                seconds=round(seconds, 1),
                started=self.ledger.first(entry["id"])["time"],
                ended=now(),
            )
        )
