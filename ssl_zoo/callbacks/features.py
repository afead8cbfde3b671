"""Clean features of a split, encoded once a step however many monitors ask."""

from __future__ import annotations

from typing import Literal

from pytorch_lightning import LightningModule, Trainer

from ssl_zoo.evaluation.features import Features, encode


class CleanFeatures:
    """Encodes a split in eval mode, sharded over ranks, and remembers it until the next step.

    Args:
        bank_size: Limit of the bank; None = every labelled training image.
    """

    def __init__(self, bank_size: int | None = None) -> None:
        self.bank_size = bank_size
        self._step = -1
        self._memo: dict[str, Features] = {}

    def get(
        self, trainer: Trainer, module: LightningModule, split: Literal["bank", "val"]
    ) -> Features:
        """The features of the bank or the validation split at the present step."""
        if trainer.global_step != self._step:
            self._step, self._memo = trainer.global_step, {}
        if split not in self._memo:
            data = trainer.datamodule  # type: ignore[attr-defined]
            loader = (
                data.bank_dataloader(self.bank_size) if split == "bank" else data.val_dataloader()
            )
            self._memo[split] = encode(
                module.encoder.backbone,  # type: ignore[arg-type, union-attr]
                loader,
                data.preprocess.to(module.device).normalize,
                module.device,
                trainer.precision_plugin.forward_context,
            )
        return self._memo[split]

    def clear(self) -> None:
        """Forget, so that the features' memory is free again."""
        self._memo = {}
