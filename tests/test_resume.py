"""A run stopped in mid-epoch by a real signal and resumed ends like one that was not stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import torch
from conftest import TINY

ROOT = Path(__file__).parents[1]
ARGS = [
    *TINY,
    "dataset.splits.num_train=3000",
    "epochs=3",
    "batch_size=32",
    "monitor.every_n_epochs=2",
]


def start(*args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "train.py", *args]
    pipe = subprocess.PIPE
    env = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env
    )


def state(folder: Path) -> dict[str, object]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_mid_epoch_and_resumed(signum: int, tmp_path: Path) -> None:
    whole = start(*ARGS, f"hydra.run.dir={tmp_path / 'whole'}")
    assert whole.wait() == 0, whole.communicate()[0]

    folder = tmp_path / "stopped"
    run = start(*ARGS, f"hydra.run.dir={folder}")
    assert run.stdout is not None
    lines = list(takewhile(lambda line: not line.startswith("epoch 1/3"), run.stdout))
    run.send_signal(signum)  # early in the second epoch
    output = "".join(lines) + run.communicate()[0]
    assert run.returncode == 128 + signum, output
    assert f"resume={folder}" in output
    assert "Traceback" not in output
    steps = int(state(folder)["global_step"])  # type: ignore[call-overload]
    assert steps % 84 != 0, "stopped between epochs: the test shows nothing"

    again = start(f"resume={folder}")
    assert again.wait() == 0, again.communicate()[0]
    expected, resumed = state(tmp_path / "whole"), state(folder)
    assert resumed["global_step"] == expected["global_step"] == 252
    for part in ("state_dict", "callbacks", "optimizer_states", "lr_schedulers"):
        assert_equal(resumed[part], expected[part], part)


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
