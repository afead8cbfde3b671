"""The learning rate of each parameter group."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.due import log, log_due
from ssl_zoo.metric_names import LEARNING_RATE


class LearningRates(Callback):
    """Logs `lr/<group>`."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if log_due(trainer, batch_idx):
            groups = trainer.optimizers[0].param_groups
            log(trainer, {LEARNING_RATE.name + group["name"]: group["lr"] for group in groups})
