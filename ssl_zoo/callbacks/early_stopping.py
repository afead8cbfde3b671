"""Lightning's early stopping, in step with the monitors."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping as LightningsEarlyStopping

from ssl_zoo.callbacks.due import epoch_due
from ssl_zoo.types import BadValue, check_whole


class EarlyStopping(LightningsEarlyStopping):
    """Ends a run whose metric improves no more; it looks only at the epochs that are measured.

    Args:
        monitor: The metric's name.
        mode: max or min.
        patience: Measurements without a better one.
        min_delta: What counts as better.
        every_n_epochs: How often the metric is measured; the last epoch always.
        **options: Lightning's further arguments.

    Raises:
        BadValue: If the mode is neither, or a number is too low.
    """

    def __init__(
        self,
        monitor: str,
        mode: str = "max",
        patience: int = 5,
        min_delta: float = 0.0,
        every_n_epochs: int = 1,
        **options: Any,
    ) -> None:
        if mode not in ("max", "min"):
            raise BadValue("mode", mode, "max or min")
        check_whole("patience", patience, least=0)
        check_whole("every_n_epochs", every_n_epochs)
        super().__init__(
            monitor,
            min_delta,
            patience,
            mode=mode,
            **{"check_on_train_epoch_end": True} | options,
        )
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if epoch_due(trainer, self.every_n_epochs):
            super().on_train_epoch_end(trainer, pl_module)
