"""Callbacks that look at a metric by its name, such as EarlyStopping and ModelCheckpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping as LightningsEarlyStopping

from ssl_zoo.callbacks import EarlyStopping, TrialReport
from ssl_zoo.callbacks.due import epoch_due
from ssl_zoo.config import nearest
from ssl_zoo.console import warn
from ssl_zoo.metric_names import LOSS, METRICS, SIGREG, SPEED
from ssl_zoo.types import UserError

# What Lightning's callbacks see of ours; lr/ and speed go to the loggers only.
_BY_EPOCH = [m.name for m in METRICS if m is not SPEED and not m.name.endswith("/")]
_ON_VAL = [metric.name for metric in METRICS if metric.on_val]
_BETTER = {metric.name: "max" for metric in METRICS if metric.is_share}
_BETTER |= {LOSS.name: "min", SIGREG.name: "min"}
_KNOWN_PACKAGES = ("ssl_zoo", "pytorch_lightning")


class _Objective(NamedTuple):
    """What the run is chosen by, as if a callback looked at it."""

    monitor: str


class Watched(Callback):
    """Refuses a callback, or an objective, whose metric nobody logs, as early as that is known.

    It stands behind the monitors and before what looks at their metrics.

    Args:
        callbacks: By their names in the config.
        every_n_epochs: How often the monitors run.
        objective: The metric that the run is chosen by, where one is named.
    """

    def __init__(
        self, callbacks: Mapping[str, Callback], every_n_epochs: int, objective: str | None = None
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.watchers: dict[str, Callback | _Objective] = {
            f"callbacks.{name}.monitor": callback
            for name, callback in callbacks.items()
            if isinstance(getattr(callback, "monitor", None), str)
        }
        if objective is not None:
            self.watchers["objective"] = _Objective(objective)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        parts = [*trainer.callbacks, pl_module]  # type: ignore[attr-defined]
        ours = all(type(part).__module__.split(".")[0] in _KNOWN_PACKAGES for part in parts)
        for knob, watcher in self.watchers.items():
            metric: str = watcher.monitor  # type: ignore[union-attr]
            of_the_step = metric.rpartition("/")[0] == LOSS.name.rpartition("/")[0]
            if ours and metric not in _BY_EPOCH and not of_the_step:
                raise UserError(f"{knob}={metric}: nothing logs it: {nearest(metric, _BY_EPOCH)}")
            self._check_val(knob, metric, trainer)
            self._check_rhythm(knob, metric, watcher)
            mode, better = getattr(watcher, "mode", None), _BETTER.get(metric)
            if mode and better and mode != better:  # Lightning's default is min
                knob = knob.replace(".monitor", ".mode")
                warn(f"{knob}={mode} takes the worst {metric} for the best: set {knob}={better}")

    def _check_val(self, knob: str, metric: str, trainer: Trainer) -> None:
        """A metric of the monitors needs images that are held out."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if metric in _ON_VAL and data is not None and len(data.val) == 0:
            fix = "give dataset.val_fraction=0.1, or another metric"
            if data.num_train_classes == 0:
                fix = "images without labels are never held out: choose another metric"
            raise UserError(
                f"{knob}={metric}: no image is held out, so that nothing logs it: {fix}, such as "
                f"{LOSS.name}"
            )

    def _check_rhythm(self, knob: str, metric: str, watcher: Callback | _Objective) -> None:
        """Lightning's own looks every epoch, and counts an old value as one that is no better."""
        lightnings = isinstance(watcher, LightningsEarlyStopping)
        if not lightnings or isinstance(watcher, EarlyStopping) or self.every_n_epochs == 1:
            return
        if metric in _ON_VAL:
            raise UserError(
                f"{knob}={metric} is looked at every epoch, but measured every "
                f"{self.every_n_epochs}: set monitor.every_n_epochs=1, or choose "
                "callbacks=[default,early_stopping], which looks when it is measured"
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not epoch_due(trainer, self.every_n_epochs):
            return
        logged = trainer.callback_metrics
        for knob, watcher in self.watchers.items():
            metric: str = watcher.monitor  # type: ignore[union-attr]
            if metric not in logged:
                raise UserError(
                    f"{knob}={metric}: this run logs {', '.join(sorted(logged))}: give one of "
                    "them, or choose the monitors too: callbacks=[default,...]"
                )


def ended_early(trainer: Trainer, total_steps: int) -> str | None:
    """Why a run ended before its last step; None where it did not."""
    if trainer.global_step >= total_steps:
        return None
    done = f"stopped after {trainer.global_step} of {total_steps} steps"
    reasons = [callback.stopping_reason_message for callback in _stoppers(trainer)]
    if trainer.should_stop and any(reasons):
        reason = " ".join(filter(None, reasons))
        reason = reason.replace("Monitored metric ", "").replace(" Signaling Trainer to stop.", "")
        return f"early stopping: {done}: {reason}"
    return f"{done}, before the learning rate's schedule ended: a run of fewer epochs ends with it"


def _stoppers(trainer: Trainer) -> list[LightningsEarlyStopping | TrialReport]:
    kinds = (LightningsEarlyStopping, TrialReport)
    return [c for c in trainer.callbacks if isinstance(c, kinds)]  # type: ignore[attr-defined]
