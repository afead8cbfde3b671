"""Whether the embeddings still differ from image to image."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_zoo.callbacks.due import alert, log, log_due
from ssl_zoo.console import warn
from ssl_zoo.evaluation import effective_rank, embedding_std
from ssl_zoo.metric_names import COLLAPSE_STD, EFFECTIVE_RANK
from ssl_zoo.types import MultiViewBatch


class CollapseMonitor(Callback):
    """Logs `collapse/std` and `collapse/effective_rank` of the embeddings of recent batches.

    Args:
        min_std: Below this (1 = healthy, 0 = collapsed) it warns at the end of an epoch.
        min_rank: Likewise below this fraction of the embedding's width.
        min_steps: No warning before this step, since an untrained network's embeddings are also
            similar.

    Attributes:
        verdict: How the embeddings had collapsed at the end of the last epoch; "" if they had not.
    """

    def __init__(self, min_std: float = 0.1, min_rank: float = 0.05, min_steps: int = 200) -> None:
        self.min_std, self.min_rank, self.min_steps = min_std, min_rank, min_steps
        self.recent: list[Tensor] = []
        self.warned = False
        self.verdict = ""

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MultiViewBatch,
        batch_idx: int,
    ) -> None:
        embedding = outputs["embedding"]
        keep = -(-2 * embedding.shape[1] // len(embedding))  # batches needed to measure the rank
        self.recent = [*self.recent, embedding][-keep:]
        if log_due(trainer, batch_idx):
            log(trainer, self.measure())

    def measure(self) -> dict[str, Tensor]:
        """The two measures over the recent embeddings."""
        recent = torch.cat(self.recent).float()
        return {
            COLLAPSE_STD.name: embedding_std(recent),
            EFFECTIVE_RANK.name: effective_rank(recent),
        }

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.recent:
            return
        measures = {name: float(value) for name, value in self.measure().items()}
        for name, value in measures.items():
            pl_module.log(name, value, rank_zero_only=True)
        std, rank = measures[COLLAPSE_STD.name], measures[EFFECTIVE_RANK.name]
        width = self.recent[0].shape[1]
        healthy = std >= self.min_std and rank >= self.min_rank * width  # False for NaN
        collapsed = not healthy and trainer.global_step >= self.min_steps
        says = f"std {std:.3f} (1 = healthy), effective rank {rank:.1f} of {width}"
        self.verdict = says if collapsed else ""
        if collapsed and not self.warned:
            self.warned = True
            line = f"the embeddings have collapsed: {says}, epoch {trainer.current_epoch + 1}"
            warn(line)
            alert(trainer, "the embeddings have collapsed", line)
