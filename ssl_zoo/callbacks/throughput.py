"""Images per second of the training loop."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo import distributed
from ssl_zoo.callbacks.due import log, log_due
from ssl_zoo.metric_names import SPEED
from ssl_zoo.types import MultiViewBatch


class Throughput(Callback):
    """Logs `speed/images_per_second`: source images of all devices, over the steps of an epoch.

    Work between epochs (kNN, saving) does not count; the online probe's step does.
    """

    def __init__(self) -> None:
        self.images, self.seconds, self.rate = 0, 0.0, 0.0
        self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = perf_counter()  # a mid-epoch resume does not call on_train_epoch_start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = perf_counter()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MultiViewBatch,
        batch_idx: int,
    ) -> None:
        now = perf_counter()
        self.images += len(batch.index) * distributed.world_size()
        self.seconds += now - self._last
        self._last = now
        if self.seconds >= 1:
            self.rate = self.images / self.seconds
            self.images, self.seconds = 0, 0.0
        if self.rate and log_due(trainer, batch_idx):
            log(trainer, {SPEED.name: self.rate})
