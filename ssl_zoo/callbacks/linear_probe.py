"""A linear classifier trained during the run, on detached representations."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn import functional

from ssl_zoo import distributed
from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.due import epoch_due
from ssl_zoo.metric_names import PROBE_TOP1
from ssl_zoo.types import MultiViewBatch, check_whole


class LinearProbe(Callback):
    """Logs `val/probe_top1`. It owns its parameters and its optimizer; the method never sees them.

    Args:
        features: Shared with the other monitors.
        every_n_epochs: How often it is scored; also after the last epoch.
        lr: Learning rate of its Adam, on representations standardised by running statistics.

    Raises:
        BadValue: If `every_n_epochs` is not at least 1.
    """

    def __init__(self, features: CleanFeatures, every_n_epochs: int = 1, lr: float = 5e-3) -> None:
        check_whole("every_n_epochs", every_n_epochs)
        self.features, self.every_n_epochs, self.lr = features, every_n_epochs, lr
        self.probe: nn.Sequential | None = None
        self._saved: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        num_classes = data.num_train_classes
        if num_classes == 0 or len(data.val) == 0 or data.val_is_apart:
            return
        dim = int(pl_module.num_features)  # type: ignore[arg-type]
        linear = nn.utils.skip_init(nn.Linear, dim, num_classes)  # draws nothing: the run's
        nn.init.zeros_(linear.weight)  # generator must not notice the probe
        nn.init.zeros_(linear.bias)
        self.probe = nn.Sequential(nn.BatchNorm1d(dim, affine=False), linear)
        self.optimizer = torch.optim.Adam(self.probe.parameters(), lr=self.lr)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.probe is None:
            return
        self.probe.to(pl_module.device)
        if self._saved:  # only now can the optimizer's states move to the device
            self.probe.load_state_dict(self._saved["probe"])
            self.optimizer.load_state_dict(self._saved["optimizer"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MultiViewBatch,
        batch_idx: int,
    ) -> None:
        if self.probe is None:
            return
        representation = distributed.all_gather(outputs["representation"].float())
        label = distributed.all_gather(batch.label)
        logits = self.probe(representation)
        total = functional.cross_entropy(logits, label, ignore_index=-1, reduction="sum")
        self.optimizer.zero_grad()
        (total / (label >= 0).sum().clamp_min(1)).backward()
        self.optimizer.step()

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.probe is None or not epoch_due(trainer, self.every_n_epochs):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        val = self.features.val(trainer, pl_module).among(data.train_labels)
        if len(val.label) == 0:
            return
        self.probe.eval()
        top1 = (self.probe(val.representation).argmax(dim=1) == val.label).float().mean()
        self.probe.train()
        pl_module.log(PROBE_TOP1.name, top1, rank_zero_only=True)

    def state_dict(self) -> dict[str, Any]:
        if self.probe is None:
            return {}
        return {"probe": self.probe.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict
