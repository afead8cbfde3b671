"""The norm of the gradient."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from ssl_zoo.callbacks.due import log, log_comes, log_due
from ssl_zoo.metric_names import GRAD_NORM


class GradNorm(Callback):
    """Logs `grad_norm`: of all gradients of the optimizer, before they are clipped.

    It is computed for logged steps only. Under DDP gradients are the same on all ranks by then.
    """

    def __init__(self) -> None:
        self.norm: Tensor | None = None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if log_comes(trainer):
            params = [p for group in optimizer.param_groups for p in group["params"]]
            self.norm = get_total_norm([p.grad.detach() for p in params if p.grad is not None])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if log_due(trainer, batch_idx) and self.norm is not None:
            log(trainer, {GRAD_NORM: self.norm})
        self.norm = None
