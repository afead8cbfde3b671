"""The learning rate of each parameter group."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from ssl_zoo.callbacks.due import log, log_due
from ssl_zoo.metric_names import LEARNING_RATE


class LearningRates(Callback):
    """Logs `lr/<group>`: the rates of the step itself, which the schedule has left since."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        self.rates = {
            LEARNING_RATE.name + group["name"]: group["lr"] for group in optimizer.param_groups
        }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if log_due(trainer, batch_idx):
            log(trainer, self.rates)
