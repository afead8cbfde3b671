"""Clean features for the monitors: the validation split is encoded once per step, for all."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from ssl_zoo.evaluation.features import Features, encode


class CleanFeatures:
    """Encodes clean images in eval mode, sharded over ranks.

    Args:
        bank_size: Limit of the bank; None = every labelled training image.
    """

    def __init__(self, bank_size: int | None = None) -> None:
        self.bank_size = bank_size
        self._step = -1
        self.latest_val: Features | None = None

    def bank(self, trainer: Trainer, module: LightningModule) -> Features:
        """The bank's features; not cached, since they may be large."""
        return self._encode(trainer, module, trainer.datamodule.bank_dataloader(self.bank_size))  # type: ignore[attr-defined]

    def val(self, trainer: Trainer, module: LightningModule) -> Features:
        """The validation split's features at the current step."""
        if self.latest_val is None or trainer.global_step != self._step:
            self._step = trainer.global_step
            loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
            self.latest_val = self._encode(trainer, module, loader)
        return self.latest_val

    def _encode(self, trainer: Trainer, module: LightningModule, loader: Iterable[Any]) -> Features:
        return encode(
            module.encoder.backbone,  # type: ignore[arg-type, union-attr]
            islice(loader, 1) if trainer.fast_dev_run else loader,  # type: ignore[attr-defined]
            trainer.datamodule.preprocess.normalize,  # type: ignore[attr-defined]
            module.device,
            trainer.precision_plugin.forward_context,
        )
