"""A loss that is not finite stops the run."""

from __future__ import annotations

import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.due import log_due
from ssl_zoo.types import UserError


class FiniteLoss(Callback):
    """Stops a run whose loss is NaN or infinite, before it overwrites a good checkpoint.

    It checks when the loss is logged and at the end of an epoch, not on every step.
    """

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.loss = outputs["loss"]
        if log_due(trainer, batch_idx):
            self._check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(trainer)

    def _check(self, trainer: Trainer) -> None:
        loss = float(self.loss)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {trainer.global_step}: lower the learning rate "
                "(optimizer.base_lr), set clip_norm, or use precision=32-true"
            )
