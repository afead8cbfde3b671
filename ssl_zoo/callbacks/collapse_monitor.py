"""Whether the embeddings still differ from image to image."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from ssl_zoo.callbacks.due import alert, log, log_due
from ssl_zoo.console import warn
from ssl_zoo.evaluation import class_share, effective_rank, embedding_std, variance_directions
from ssl_zoo.metric_names import COLLAPSE_STD, EFFECTIVE_RANK
from ssl_zoo.types import MultiViewBatch, check_number, check_whole

_MOST_ROWS = 1024  # that are measured: the time of a rank grows with the cube of the rows
_TOLD_APART = 0.5  # share of the variance between classes from which on nothing has collapsed
_RISEN = 1.1  # std over what it was at half as many steps, from which on it is rising


class CollapseMonitor(Callback):
    """Logs `collapse/std` and `collapse/effective_rank` of the embeddings of recent batches.

    At the end of an epoch it warns if embeddings are nearly a point, or nearly on a line, and do
    not tell the classes apart, where there are labels: the embeddings of two classes lie on a line,
    and that is what supervised training is for. Nor does it warn of a point while std rises: of
    few classes it may first fall far below its end. docs/watching.md has the measurements.

    Args:
        min_std: Below this they are nearly a point (1 = healthy, 0 = a point); below half of it
            where no number is negative, as after a ReLU, since these have a direction in common.
        min_rank: In fewer directions than this they are nearly on a line; a number of directions,
            by `variance_directions`, whatever the embedding's width.
        min_steps: No warning before this step, since an untrained network's embeddings are also
            similar.

    Raises:
        BadValue: If a number is below 0.

    Attributes:
        verdict: How the embeddings had collapsed at the end of the last epoch; "" if they had not.
    """

    def __init__(self, min_std: float = 0.45, min_rank: float = 1.5, min_steps: int = 200) -> None:
        check_number("min_std", min_std)
        check_number("min_rank", min_rank)
        check_whole("min_steps", min_steps, least=0)
        self.min_std, self.min_rank, self.min_steps = min_std, min_rank, min_steps
        self.recent: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.warned = False
        self.verdict = ""
        self.history: list[tuple[int, float]] = []  # step and std at each epoch's end

    def state_dict(self) -> dict[str, Any]:
        """What std was before."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.history = list(state_dict["history"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: MultiViewBatch,
        batch_idx: int,
    ) -> None:
        embedding = outputs["embedding"]
        rows = min(2 * embedding.shape[1], _MOST_ROWS)
        keep = -(-rows // len(embedding))  # batches needed to measure the rank
        self.recent = [*self.recent, embedding][-keep:]
        self.labels = [*self.labels, batch.label][-keep:]
        if log_due(trainer, batch_idx):
            log(trainer, self.measure())

    def measure(self) -> dict[str, Tensor]:
        """The two measures over the recent embeddings."""
        recent = self._embeddings()
        return {
            COLLAPSE_STD.name: embedding_std(recent),
            EFFECTIVE_RANK.name: effective_rank(recent),
        }

    def _embeddings(self) -> Tensor:
        return torch.cat(self.recent)[-_MOST_ROWS:].float()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.recent:
            return
        measures = {name: float(value) for name, value in self.measure().items()}
        for name, value in measures.items():
            pl_module.log(name, value, rank_zero_only=True)
        std = measures[COLLAPSE_STD.name]
        self.history.append((trainer.global_step, std))
        says = self._collapsed(std)
        self.verdict = says if trainer.global_step >= self.min_steps else ""
        if self.verdict and not self.warned:
            self.warned = True
            line = f"the embeddings have collapsed: {says}, epoch {trainer.current_epoch + 1}"
            warn(line)
            alert(trainer, "the embeddings have collapsed", line)

    def _rises(self) -> bool:
        """Whether std is clearly higher than when half as many steps were done."""
        before = [old for step, old in self.history if step <= self.history[-1][0] / 2]
        return bool(before) and self.history[-1][1] > _RISEN * before[-1]

    def _collapsed(self, std: float) -> str:
        """How they have collapsed; "" if they have not."""
        recent = self._embeddings()
        directions = float(variance_directions(recent))
        min_std = self.min_std * (0.5 if bool((recent >= 0).all()) else 1)
        if (std >= min_std or self._rises()) and directions >= self.min_rank:  # False for NaN
            return ""
        label = torch.cat(self.labels)[-_MOST_ROWS:].to(recent.device)
        if float(class_share(recent, label)) >= _TOLD_APART:
            return ""
        width = recent.shape[1]
        return f"std {std:.3f} (1 = healthy), variance in {directions:.1f} directions of {width}"
