"""One bar for the whole run: loss, images/s, time left, latest kNN."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from ssl_zoo.callbacks.due import stepped
from ssl_zoo.callbacks.throughput import Throughput
from ssl_zoo.metric_names import LOSS, METRICS
from ssl_zoo.types import Facts

_REFRESH_SECONDS = 0.5


class Progress(ProgressBar):
    """A Rich progress bar; if the output is not a terminal, one line per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console()
        self.bar: RichProgress | None = None
        self._refreshed = 0.0
        self._enabled = True
        self.num_epochs = 0

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.throughput = next((c for c in trainer.callbacks if isinstance(c, Throughput)), None)  # type: ignore[attr-defined]
        facts: Facts = pl_module.facts  # type: ignore[assignment]
        self.num_epochs = trainer.max_epochs or 0
        if facts.total_steps and facts.steps_per_epoch:  # trainer.max_steps may end the run earlier
            self.num_epochs = -(-facts.total_steps // facts.steps_per_epoch)
        if not self._enabled or not self.console.is_terminal:
            return
        self.bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[status]}  left"),
            TimeRemainingColumn(compact=True),
            console=self.console,
            redirect_stderr=sys.stderr.isatty(),  # messages appear above the bar; a file stays one
        )
        self.task = self.bar.add_task(
            "epoch", total=facts.total_steps, completed=trainer.global_step, status=""
        )
        self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None or not stepped(trainer, batch_idx):
            return
        if monotonic() - self._refreshed < _REFRESH_SECONDS:
            return  # reading the loss on every step would wait for the device
        self._refreshed = monotonic()
        self._show(trainer, float(outputs["logged"]["loss"]))

    def _show(self, trainer: Trainer, loss: float | None) -> None:
        assert self.bar is not None
        self.bar.update(
            self.task,
            completed=trainer.global_step,
            description=self._epoch(trainer),
            status=self._status(trainer, loss),
        )

    def _epoch(self, trainer: Trainer) -> str:
        return f"epoch {trainer.current_epoch + 1}/{self.num_epochs}"

    def _status(self, trainer: Trainer, loss: float | None) -> str:
        parts = [] if loss is None else [f"loss {loss:.3f}"]
        if self.throughput is not None and self.throughput.rate:
            rate = self.throughput.rate
            parts.append(f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s")
        metrics = trainer.callback_metrics
        for metric in METRICS:
            if metric.label and metric.name in metrics:
                parts.append(f"{metric.label} {metric.shown(float(metrics[metric.name]))}")
        return "  ".join(parts)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get(LOSS.name)
        value = None if loss is None else float(loss)
        if self.bar is not None:
            self._show(trainer, value)
        elif self._enabled:
            line = f"{self._epoch(trainer)}  {self._status(trainer, value)}"
            self.console.print(line, highlight=False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._stop()  # Lightning calls no teardown then; what is said next has its own line

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
