"""last.ckpt and best.ckpt, and the clean stop on a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from ssl_zoo.callbacks.collapse_monitor import CollapseMonitor
from ssl_zoo.callbacks.due import stepped
from ssl_zoo.console import interject
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.metric_names import objective_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.stopping import STOPPING, Asked

_SLOW_SECONDS = 0.5  # of a step: with such, ranks communicate after each, else after every tenth


class Interrupted(Exception):
    """The run was stopped by a signal, after it had saved last.ckpt.

    Args:
        signum: The signal.
        step: Optimizer steps done; None where it stopped before it could save.
    """

    def __init__(self, signum: int, step: int | None = None) -> None:
        super().__init__(signum, step)  # so that it can be pickled
        self.signum, self.step = signum, step

    def __str__(self) -> str:
        at = "" if self.step is None else f" at step {self.step}"
        return f"stopped by {signal.Signals(self.signum).name}{at}"


class Checkpoints(Checkpoint):
    """Saves last.ckpt every epoch, every few minutes and on a signal; best.ckpt by the objective.

    If the objective is not logged, best.ckpt is not written.

    A signal stops the run after the current optimizer step, so that it resumes exactly; of several
    processes after one of the next ten, the same on all. A second SIGINT or SIGTERM stops at once.

    Args:
        folder: The run's folder.
        every_n_minutes: How often last.ckpt is saved within an epoch.
        objective: Name of a metric; None = the first objective of `metric_names` that is logged.
    """

    def __init__(
        self, folder: RunFolder, every_n_minutes: float = 10.0, objective: str | None = None
    ) -> None:
        self.folder, self.every_n_minutes, self.objective = folder, every_n_minutes, objective
        self.best_score: float | None = None
        self._asked = Asked()
        self._handlers: dict[int, Any] = {}
        self._saved = self._compared = monotonic()
        self._compared_at, self._every = 0, 1
        self._stopped_by = 0  # the signal that all ranks know of

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved = self._compared = monotonic()
        self._compared_at = trainer.global_step
        self._process = os.getpid()
        self._handlers = {signum: signal.signal(signum, self._on_signal) for signum in STOPPING}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that reads images, which Ctrl-C reaches too
            return
        first = self._asked.signum is None
        if self._asked.at_once(signum):
            raise KeyboardInterrupt
        if first:
            interject("stopping after this step; repeat to stop at once")

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What the run has reached: one killed before it says "finished" does not train on."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        ended = trainer.should_stop or trainer.global_step >= trainer.estimated_stepping_batches
        monitors = [c for c in trainer.callbacks if isinstance(c, CollapseMonitor)]  # type: ignore[attr-defined]
        collapsed = next((monitor.verdict for monitor in monitors), "")
        reached = {"ended": ended, "metrics": metrics, "collapsed": collapsed}
        checkpoint.setdefault("ssl_zoo", {})["reached"] = reached

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._stopped_by:  # by now the metrics of the last step, or epoch, are logged
            raise Interrupted(self._stopped_by, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not stepped(trainer, batch_idx) or trainer.is_last_batch:
            return  # the monitors run after an epoch's last step; on_train_epoch_end saves then
        if trainer.world_size > 1 and trainer.global_step % self._every:
            return
        due = monotonic() - self._saved > 60 * self.every_n_minutes
        self._stopped_by, due = self._agreed(trainer, due)
        if self._stopped_by or due:
            self._save(trainer, self.folder.last)

    def _agreed(self, trainer: Trainer, due: bool = False) -> tuple[int, bool]:
        """The signal that any rank got, else 0, and whether to save: saving is collective."""
        signum = int(self._asked.signum or 0)
        if trainer.world_size == 1:
            return signum, due
        steps = max(1, trainer.global_step - self._compared_at)
        slow = monotonic() - self._compared > _SLOW_SECONDS * steps
        ours = torch.tensor([signum, due, slow], device=trainer.strategy.root_device)
        signum, due, slow = trainer.strategy.reduce(ours, reduce_op="max").tolist()
        self._compared, self._compared_at = monotonic(), trainer.global_step
        self._every = 1 if slow else 10
        return signum, bool(due)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        objective = objective_of(metrics, self.objective)
        if objective and objective.improves(float(metrics[objective.name]), self.best_score):
            self.best_score = float(metrics[objective.name])
            self._save(trainer, self.folder.best)
        self._save(trainer, self.folder.last)
        self._stopped_by, _ = self._agreed(trainer)

    def _save(self, trainer: Trainer, path: Path) -> None:
        if is_rank_zero():  # others may not see the folder
            self.folder.check_there()
        trainer.save_checkpoint(path)
        self._saved = monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
