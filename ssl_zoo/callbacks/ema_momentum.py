"""The momentum of a target that follows the encoder."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.due import log, log_due
from ssl_zoo.metric_names import EMA_MOMENTUM
from ssl_zoo.modules import Momentum


class EMAMomentum(Callback):
    """Logs `ema/momentum`: what the target of the method was updated with in this step."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.targets = [part for part in pl_module.modules() if isinstance(part, Momentum)]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.targets and log_due(trainer, batch_idx):
            log(trainer, {EMA_MOMENTUM: self.targets[0].latest})
