"""What the steps return, where Lightning would not log it, and its means over each epoch."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_zoo.callbacks.due import lightning_logs, log, log_due
from ssl_zoo.hardware import at_least_float32
from ssl_zoo.metric_names import epoch_mean, of_training


class TrainMetrics(Callback):
    """Logs each `train/` metric at the first and last step of an epoch, and its mean over it.

    So a run whose epochs are shorter than `log_every_n_steps`, Lightning's only rhythm, has curves
    too. Under DDP they are rank 0's, as all `train/` metrics. Means are summed on the device, where
    nothing waits for them.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.count = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        logged = {of_training(name): value for name, value in outputs["logged"].items()}
        self.count += 1
        for name, value in logged.items():
            exact = at_least_float32(value) if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + exact
        if log_due(trainer, batch_idx) and not lightning_logs(trainer):
            log(trainer, logged)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, total in self.sums.items():
            pl_module.log(epoch_mean(name), float(total) / self.count, rank_zero_only=True)
        self.sums, self.count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        sums = {name: float(total) for name, total in self.sums.items()}
        return {"sums": sums, "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sums, self.count = dict(state_dict["sums"]), state_dict["count"]
