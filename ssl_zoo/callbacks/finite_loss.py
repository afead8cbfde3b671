"""A loss that is not finite, or that does not reach the encoder, stops the run."""

from __future__ import annotations

import math
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from ssl_zoo.callbacks.due import alert, log_due
from ssl_zoo.types import MultiViewBatch, NotFinite, UserError


class FiniteLoss(Callback):
    """Stops a run whose loss is NaN or infinite, before it overwrites a good checkpoint.

    It checks when the loss is logged, which the last step of an epoch is, not on every step. After
    the first backward pass it checks that a gradient has reached the encoder.
    """

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.fit_loop.total_batch_idx > 0:
            return
        weights = [p for p in pl_module.encoder.parameters() if p.requires_grad]  # type: ignore[union-attr]
        if weights and all(weight.grad is None for weight in weights):
            name = type(pl_module).__name__
            raise UserError(
                f"the loss of {name} does not depend on its encoder: no gradient reaches it; make "
                "the loss from encoder outputs that are not detached"
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if log_due(trainer, batch_idx) and not math.isfinite(loss := float(outputs["loss"])):
            cause = _cause(batch, trainer.global_step)
            error = NotFinite(f"the loss is {loss} at step {trainer.global_step}: {cause}")
            alert(trainer, "the run has stopped: its loss is not finite", str(error))
            raise error


def _cause(batch: MultiViewBatch, step: int) -> str:
    if not all(bool(view.isfinite().all()) for view in batch.views):
        return "so are pixels of its views: look at the images and the augmentation"
    if step <= 1:
        return "before any update of the weights: look at the backbone, the heads and the loss"
    return "lower the learning rate (optimizer.base_lr), set clip_norm, or use precision=32-true"
