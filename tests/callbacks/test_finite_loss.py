"""A loss that is not a number stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.configs import Make
from ssl_zoo.train import train
from ssl_zoo.types import UserError


def test_a_loss_that_is_no_number_stops_the_run_and_saves_nothing(
    make_config: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="the loss is nan at step"):
        train(make_config("optimizer=sgd", "optimizer.lr=1e30", "epochs=2", "dataset.mean=[0,0,0]"))
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
