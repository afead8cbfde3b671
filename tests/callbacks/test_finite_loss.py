"""A loss that is no number, or that does not reach the encoder, stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from helpers.configs import Make
from ssl_zoo.callbacks import FiniteLoss
from ssl_zoo.config import instantiate
from ssl_zoo.train import train
from ssl_zoo.training.build import build_method
from ssl_zoo.types import MultiViewBatch, UserError


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing(
    make_config: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="the loss is nan at step"):
        train(make_config("optimizer=sgd", "optimizer.lr=1e30", "epochs=2", "dataset.mean=[0,0,0]"))
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_views_that_are_no_numbers_are_named() -> None:
    views = [torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), torch.inf)]
    batch = MultiViewBatch(views, torch.zeros(2), torch.arange(2))
    callback, trainer = FiniteLoss(), Trainer(accelerator="cpu", logger=False)
    callback.on_train_batch_end(trainer, nn.Linear(1, 1), {"loss": torch.tensor(1.0)}, batch, 0)
    broken = {"loss": torch.tensor(torch.nan)}
    with pytest.raises(UserError, match="the loss is nan at step 0: so are pixels of its views"):
        callback.on_train_batch_end(trainer, nn.Linear(1, 1), broken, batch, 0)


class Mean(nn.Module):
    """The mean of the positive pairs, times `factor`, and of a weight of its own."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.ones(())), factor

    def forward(self, pos: Tensor, neg: Tensor) -> Tensor:
        return self.weight * (pos.mean() if self.factor else pos.mean().detach()) * self.factor


@pytest.mark.parametrize(
    ("factor", "line"),
    [
        (float("inf"), "step 1: before any update of the weights: look at the backbone, the heads"),
        (0.0, "^the loss of SimCLR does not depend on its encoder: no gradient reaches it"),
    ],
)
def test_a_loss_that_cannot_train(make_config: Make, factor: float, line: str) -> None:
    cfg = make_config()
    data = instantiate(cfg.data)
    method = build_method(cfg, data, None)
    method.loss = Mean(factor)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(max_steps=1, accelerator="cpu", callbacks=[FiniteLoss()], **quiet)
    with pytest.raises(UserError, match=line):
        trainer.fit(method, datamodule=data)
