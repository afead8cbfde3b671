"""kNN on clean features during the run."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.due import epoch_due, log
from ssl_zoo.console import info
from ssl_zoo.evaluation import knn_top1
from ssl_zoo.metric_names import KNN_AT_START, KNN_TOP1
from ssl_zoo.types import check_whole

_SOON_ENCODED = 20_000  # images of a bank that delay the first step by little


class KNNMonitor(Callback):
    """Logs `val/knn_top1` of the representation, against the whole clean bank.

    Of a new run it also logs `val/knn_top1_at_start`, the floor, where that takes no long time.

    Args:
        features: Shared with the other monitors.
        every_n_epochs: How often; also after the last epoch.
        k: Neighbours.
        temperature: For their weights.

    Raises:
        BadValue: If `every_n_epochs` is not at least 1.

    Source: Wu et al. 2018 (InstDisc), sec. 3.4.
    """

    def __init__(
        self,
        features: CleanFeatures,
        every_n_epochs: int = 1,
        k: int = 20,
        temperature: float = 0.07,
    ) -> None:
        check_whole("every_n_epochs", every_n_epochs)
        self.features, self.every_n_epochs = features, every_n_epochs
        self.k, self.temperature = k, temperature
        self._told = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if data.num_train_classes == 0:
            info("no labels: the kNN monitor and the linear probe are off")
        elif len(data.val) == 0:
            info(
                "no image is held out for val: the kNN monitor and the linear probe are off; "
                "evaluate.py scores the run on test"
            )
        elif not (data.val.labels >= 0).any():
            info("no image of val has a label: the kNN monitor and the linear probe are off")
        elif data.val_is_apart:
            info("val has classes of its own: the kNN monitor and the linear probe are off")
        size = min(self.features.bank_size or data.num_images, data.num_images)
        new = trainer.global_step == 0 and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if new and self._is_on(trainer) and size <= _SOON_ENCODED:
            log(trainer, {KNN_AT_START.name: self._top1(trainer, pl_module)})

    def _is_on(self, trainer: Trainer) -> bool:
        data = trainer.datamodule  # type: ignore[attr-defined]
        labelled = bool(data.num_train_classes and (data.val.labels >= 0).any())
        return labelled and not data.val_is_apart

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_on(trainer) and epoch_due(trainer, self.every_n_epochs):
            pl_module.log(KNN_TOP1.name, self._top1(trainer, pl_module), rank_zero_only=True)

    def _top1(self, trainer: Trainer, pl_module: LightningModule) -> float:
        """Of the present weights; collective."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        bank = self.features.bank(trainer, pl_module)
        val = self.features.val(trainer, pl_module).among(data.train_labels)
        if self.k > len(bank.label) and not self._told:
            info(f"k={self.k} of the kNN monitor: the bank has {len(bank.label)} images, all vote")
            self._told = True
        top1 = knn_top1(
            val.representation,
            val.label,
            bank.representation,
            bank.label,
            data.num_train_classes,
            [self.k],
            self.temperature,
        )
        return top1[self.k]
