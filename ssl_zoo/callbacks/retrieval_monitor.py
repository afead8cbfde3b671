"""Retrieval on the validation classes of class-disjoint data during the run."""

from __future__ import annotations

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from ssl_zoo.callbacks.clean_features import CleanFeatures
from ssl_zoo.callbacks.due import epoch_due
from ssl_zoo.evaluation.features import Features, encode
from ssl_zoo.evaluation.retrieval import retrieval_metrics
from ssl_zoo.metric_names import MAP_AT_R, PRECISION_AT_1
from ssl_zoo.types import check_whole

_FEWEST = 2  # images of a class, of which one finds the other


class Embedding(nn.Module):
    """An encoder's L2-normalised embedding, (N, 3, S, S) -> (N, embed_dim)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> Tensor:
        return functional.normalize(self.encoder(images)[1].float(), dim=1)


class RetrievalMonitor(Callback):
    """Logs `val/map_at_r` and `val/precision_at_1` of the output that the method is scored on.

    Each validation image searches for the others of its class; training has seen none of them. If
    val has a class of train, or one image of each class, it does nothing.

    Args:
        features: Shared with the other monitors.
        every_n_epochs: How often; also after the last epoch.

    Raises:
        BadValue: If `every_n_epochs` is not at least 1.

    Source: Musgrave et al. 2020 (A Metric Learning Reality Check), sec. 3.2.
    """

    def __init__(self, features: CleanFeatures, every_n_epochs: int = 1) -> None:
        check_whole("every_n_epochs", every_n_epochs)
        self.features, self.every_n_epochs = features, every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not data.val_is_apart or not epoch_due(trainer, self.every_n_epochs):
            return
        if int(data.val.labels[data.val.labels >= 0].bincount().max()) < _FEWEST:
            return
        val = self._val(trainer, pl_module)
        metrics = retrieval_metrics(val.representation, val.label)
        pl_module.log(MAP_AT_R.name, metrics.map_at_r, rank_zero_only=True)
        pl_module.log(PRECISION_AT_1.name, metrics.precision_at_1, rank_zero_only=True)

    def _val(self, trainer: Trainer, module: LightningModule) -> Features:
        if module.scored_on == "representation":
            return self.features.val(trainer, module)
        data = trainer.datamodule  # type: ignore[attr-defined]
        return encode(
            Embedding(module.encoder),  # type: ignore[arg-type]
            data.val_dataloader(),
            data.preprocess.normalize,
            module.device,
            trainer.precision_plugin.forward_context,
        )
