"""A collapse is told, and no other run is called one."""

from __future__ import annotations

import logging

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from helpers.configs import Make
from ssl_zoo.train import train
from ssl_zoo.training.build import build_callbacks
from ssl_zoo.types import MultiViewBatch, StepOutput


class Collapse(Callback):
    """Makes every embedding the same, from outside."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = pl_module.step

        def collapsed(batch: MultiViewBatch) -> StepOutput:
            output = step(batch)  # type: ignore[operator]
            return output._replace(embedding=torch.ones_like(output.embedding))

        pl_module.step = collapsed  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize("collapsed", [False, True])
def test_a_collapse_is_told(
    make_config: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    collapsed: bool,
) -> None:
    def with_collapse(*args):  # type: ignore[no-untyped-def]
        return [Collapse(), *build_callbacks(*args)] if collapsed else build_callbacks(*args)

    monkeypatch.setattr("ssl_zoo.training.run.build_callbacks", with_collapse)
    with caplog.at_level(logging.WARNING, "ssl_zoo"):
        metrics = train(make_config("epochs=3", "callbacks.collapse_monitor.min_steps=1"))
    told = [record for record in caplog.records if "have collapsed" in record.getMessage()]
    assert len(told) == int(collapsed)
    assert (metrics["collapse/std"] < 0.01) == collapsed
