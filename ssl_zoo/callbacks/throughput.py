"""Images per second of the training loop, where its time goes, and the memory."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo import distributed
from ssl_zoo.callbacks.due import log, log_due
from ssl_zoo.hardware import peak_memory
from ssl_zoo.metric_names import COMPUTE_SECONDS, DATA_SECONDS, PEAK_MEMORY, SPEED
from ssl_zoo.types import MultiViewBatch


class Throughput(Callback):
    """Logs `speed/images_per_second`: source images of all devices, over the steps of an epoch.

    Also `speed/data_seconds` and `speed/compute_seconds` of a batch, means since the last logged
    one: until it and its views are on the device, and the step; `speed/peak_memory_gb`, rank 0's.
    On a GPU the host's time counts, which waits for the device where a step is logged.

    Work between epochs (kNN, saving) does not count; the online probe's step does.
    """

    def __init__(self) -> None:
        self.images, self.seconds, self.rate = 0, 0.0, 0.0
        self._last = self._begun = 0.0
        self._data, self._compute, self._batches = 0.0, 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = perf_counter()  # a mid-epoch resume does not call on_train_epoch_start

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last = perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: MultiViewBatch, batch_idx: int
    ) -> None:
        self._begun = perf_counter()
        self._data += self._begun - self._last

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
        self._compute += now - self._begun
        self._batches += 1
        self._last = now
        if self.seconds >= 1:
            self.rate = self.images / self.seconds
            self.images, self.seconds = 0, 0.0
        if log_due(trainer, batch_idx):
            rate = {SPEED.name: self.rate} if self.rate else {}
            log(trainer, rate | self._spent() | _memory(pl_module))

    def _spent(self) -> dict[str, float]:
        """Seconds of a batch since the last logged one, after which they begin again."""
        data, compute = self._data / self._batches, self._compute / self._batches
        self._data, self._compute, self._batches = 0.0, 0.0, 0
        return {DATA_SECONDS: data, COMPUTE_SECONDS: compute}


def _memory(module: LightningModule) -> dict[str, float]:
    used = peak_memory(module.device)
    return {} if used is None else {PEAK_MEMORY: used[0]}
