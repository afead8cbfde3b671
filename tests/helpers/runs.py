"""What a run saved, runs that are stopped, and exact comparison."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer

from helpers.paths import ROOT
from ssl_zoo.train import train
from ssl_zoo.training.build import build_callbacks


def start(
    *args: str, program: str = "train.py", new_session: bool = False
) -> subprocess.Popen[str]:
    """A program in a process of its own, which may lead a group as in a terminal."""
    command = [sys.executable, program, *args]
    pipe = subprocess.PIPE
    env = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=new_session,
    )


def state(folder: Path) -> dict[str, object]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


def reached(folder: Path, step: int) -> bool:
    """Whether a run has logged this step."""
    try:
        return f"\n{step}," in (folder / "metrics.csv").read_text()
    except FileNotFoundError:  # not there yet, or removed by a run that begins again
        return False


def assert_equal(a: object, b: object, place: str) -> None:
    """Exactly equal, all the way down."""
    if isinstance(a, torch.Tensor):
        assert isinstance(b, torch.Tensor)
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys(), place
        for key in a:
            assert_equal(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list | tuple):
        assert isinstance(b, list | tuple)
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{place}[{i}]")
    else:
        assert a == b, place


class SignalAt(Callback):
    """Sends this process SIGTERM once a step is done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def train_with_signal(cfg: DictConfig, step: int, monkeypatch: pytest.MonkeyPatch) -> object:
    """Train, with the signal; the metrics, or the exit code."""
    with monkeypatch.context() as patch:
        build = build_callbacks
        patch.setattr(
            "ssl_zoo.training.run.build_callbacks", lambda *a: [SignalAt(step), *build(*a)]
        )
        try:
            return train(cfg)
        except SystemExit as stop:
            return stop.code
