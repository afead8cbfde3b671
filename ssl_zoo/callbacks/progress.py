"""One bar for the whole run: loss, images/s, time left, latest kNN."""

from __future__ import annotations

from time import monotonic
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from ssl_zoo.callbacks.due import stepped
from ssl_zoo.callbacks.throughput import Throughput

_REFRESH_SECONDS = 0.5
_SHARES = {"val/knn_top1": "kNN", "val/probe_top1": "probe", "val/map_at_r": "MAP@R"}


class Progress(ProgressBar):
    """A Rich progress bar; where the output is no terminal, one line an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.console = Console()
        self.bar: RichProgress | None = None
        self._refreshed = 0.0
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.throughput = next((c for c in trainer.callbacks if isinstance(c, Throughput)), None)  # type: ignore[attr-defined]
        if not self._enabled or not self.console.is_terminal:
            return
        self.bar = RichProgress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[status]}  left"),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        total = int(trainer.estimated_stepping_batches)
        self.task = self.bar.add_task(
            "epoch", total=total, completed=trainer.global_step, status=""
        )
        self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.bar is None or not stepped(trainer, batch_idx):
            return
        if monotonic() - self._refreshed < _REFRESH_SECONDS:
            return  # the loss is read from the device this rarely, not on every step
        self._refreshed = monotonic()
        self._show(trainer, float(outputs["loss"]))

    def _show(self, trainer: Trainer, loss: float | None) -> None:
        assert self.bar is not None
        self.bar.update(
            self.task,
            completed=trainer.global_step,
            description=f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}",
            status=self._status(trainer, loss),
        )

    def _status(self, trainer: Trainer, loss: float | None) -> str:
        parts = [] if loss is None else [f"loss {loss:.3f}"]
        if self.throughput is not None and self.throughput.rate:
            rate = self.throughput.rate
            parts.append(f"{rate:,.0f} images/s" if rate >= 10 else f"{rate:.1f} images/s")
        metrics = trainer.callback_metrics
        for name, label in _SHARES.items():
            if name in metrics:
                parts.append(f"{label} {100 * float(metrics[name]):.1f}%")
        return "  ".join(parts)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("train/loss")
        value = None if loss is None else float(loss)
        if self.bar is not None:
            self._show(trainer, value)
        elif self._enabled:
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self.console.print(f"{epoch}  {self._status(trainer, value)}", highlight=False)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
