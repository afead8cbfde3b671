"""last.ckpt and best.ckpt, and the clean stop on a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from ssl_zoo.callbacks.collapse_monitor import CollapseMonitor
from ssl_zoo.callbacks.due import stepped
from ssl_zoo.console import interject
from ssl_zoo.launched import is_rank_zero
from ssl_zoo.metric_names import objective_of
from ssl_zoo.run_folder import RunFolder

SAME_SIGNAL_SECONDS = 1.0  # one signal may come twice: to all processes, and passed on by a parent


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

    SIGINT or SIGTERM stops the run after the current optimizer step, so that it resumes exactly;
    a second one stops at once.

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
        self.signum: int | None = None
        self._handlers: dict[int, Any] = {}
        self._saved = self._signalled = monotonic()
        self._stopping = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved = monotonic()
        self._process = os.getpid()
        self._handlers = {
            signum: signal.signal(signum, self._on_signal)
            for signum in (signal.SIGINT, signal.SIGTERM)
        }

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers = {}

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that reads images, which Ctrl-C reaches too
            return
        if self.signum is not None:
            if monotonic() - self._signalled < SAME_SIGNAL_SECONDS:
                return
            raise KeyboardInterrupt
        self.signum, self._signalled = signum, monotonic()
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
        if self._stopping:  # by now the metrics of the last step, or epoch, are logged
            raise Interrupted(self.signum or signal.SIGTERM, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not stepped(trainer, batch_idx) or trainer.is_last_batch:
            return  # the monitors run after an epoch's last step; on_train_epoch_end saves then
        if self._agreed(trainer, self.signum is not None):
            self._save(trainer, self.folder.last)
            self._stopping = True
        if self._agreed(trainer, monotonic() - self._saved > 60 * self.every_n_minutes):
            self._save(trainer, self.folder.last)

    def _agreed(self, trainer: Trainer, wish: bool, at_once: bool = False) -> bool:
        """Saving is collective, so all ranks must agree; they communicate every 10 steps."""
        if trainer.world_size == 1:
            return wish
        if not at_once and trainer.global_step % 10:
            return False
        return trainer.strategy.reduce_boolean_decision(wish, all=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        objective = objective_of(metrics, self.objective)
        if objective and objective.improves(float(metrics[objective.name]), self.best_score):
            self.best_score = float(metrics[objective.name])
            self._save(trainer, self.folder.best)
        self._save(trainer, self.folder.last)
        self._stopping = self._agreed(trainer, self.signum is not None, at_once=True)

    def _save(self, trainer: Trainer, path: Path) -> None:
        if is_rank_zero():  # others may not see the folder
            self.folder.check_there()
        trainer.save_checkpoint(path)
        self._saved = monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
