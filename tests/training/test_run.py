"""What a run is refused for before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from helpers.command_line import command_line
from helpers.configs import Make
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.types import UserError


@pytest.fixture
def stopped(tmp_path: Path) -> RunFolder:
    """A run that was stopped, by an earlier version: its checkpoint has no format."""
    folder = RunFolder(tmp_path / "old")
    folder.checkpoints.mkdir(parents=True)
    torch.save({"ssl_zoo": {"config": {}}}, folder.last)
    folder.config.write_text(yaml.safe_dump({"run_dir": "elsewhere", "name": "x", "seed": 0}))
    return folder


def test_a_run_of_an_earlier_version_is_told(make_config: Make, stopped: RunFolder) -> None:
    with pytest.raises(UserError, match=r"last\.ckpt .*before format 1"):
        train(make_config(f"resume={stopped}"))
    assert not stopped.result.exists()


def test_a_folder_without_a_checkpoint_is_told(make_config: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no checkpoints/last\.ckpt: give a run folder$"):
        train(make_config(f"resume={tmp_path}"))


def test_overrides_beside_resume_are_told(stopped: RunFolder) -> None:
    overrides = [f"resume={stopped}", "trainer.fast_dev_run=true", f"run_dir={stopped}"]
    with (
        command_line("train", *overrides) as cfg,
        pytest.raises(UserError, match=r"own config: remove trainer\.fast_dev_run=true, run_dir="),
    ):
        train(cfg)
