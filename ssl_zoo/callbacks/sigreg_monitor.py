"""How far the validation embeddings are from a standard Gaussian, during the run."""

from __future__ import annotations

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.due import epoch_due
from ssl_zoo.evaluation import sample_rows, sigreg
from ssl_zoo.evaluation.features import eval_mode
from ssl_zoo.metric_names import SIGREG
from ssl_zoo.types import check_whole

_AT_ONCE = 512  # images that the projector sees together


class SIGRegMonitor(Callback):
    """Logs `collapse/sigreg` of the embeddings of clean val images, as the projector gives them.

    They are not normalised: it shows embeddings that shrink to a point, whose directions may still
    differ. It reads no labels; without val, which unlabelled data do not have, it does nothing.

    Args:
        features: Shared with the other monitors.
        every_n_epochs: How often; also after the last epoch.
        max_images: Of val; the statistic grows with their number.

    Raises:
        BadValue: If a number is not at least 1.

    Source: Balestriero & LeCun 2025 (LeJEPA).
    """

    def __init__(
        self, features: CleanFeatures, every_n_epochs: int = 1, max_images: int = 10_000
    ) -> None:
        check_whole("every_n_epochs", every_n_epochs)
        check_whole("max_images", max_images)
        self.features, self.every_n_epochs = features, every_n_epochs
        self.max_images = max_images

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if len(data.val) == 0 or not epoch_due(trainer, self.every_n_epochs):
            return
        val = self.features.val(trainer, pl_module).representation
        z = _embedding(trainer, pl_module, sample_rows(val, self.max_images))
        pl_module.log(SIGREG.name, float(sigreg(z)), rank_zero_only=True)


@torch.inference_mode()
def _embedding(trainer: Trainer, module: LightningModule, representation: Tensor) -> Tensor:
    """The embeddings of representations (N, num_features), by the projector in eval mode."""
    projector: torch.nn.Module = module.encoder.projector  # type: ignore[assignment, union-attr]
    dtype = next((p.dtype for p in projector.parameters()), representation.dtype)
    parts = []
    with eval_mode(projector):
        for part in representation.to(dtype).split(_AT_ONCE):
            with trainer.precision_plugin.forward_context():
                parts.append(projector(part).float())
    return torch.cat(parts)
