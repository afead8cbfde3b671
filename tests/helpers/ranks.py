"""Runs of several processes on CPUs: how they are started, and what one sees of them outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.paths import ROOT

SMALL = [
    "dataset.splits.num_train=80",
    "dataset.splits.num_test=20",
    "backbone.widths=[8]",
    "backbone.strides=[2]",
    "epochs=1",
    "batch_size=16",
    "precision=32-true",
    "log_every_n_steps=1",
    "callbacks=none",
    "name=test",
]
DDP = ["trainer.accelerator=cpu", "strategy=ddp", "devices=2"]


@contextmanager
def started(*command: str, cwd: Path = ROOT, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process, which is killed at the end if it still runs."""
    quick = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=os.environ | quick | env,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def output_of(*command: str, code: int = 0, cwd: Path = ROOT, **env: str) -> str:
    """What a Python process prints, which must end with this exit code."""
    with started(*command, cwd=cwd, **env) as process:
        output = process.communicate()[0]
        assert process.returncode == code, output
        return output


def ranks_of(pid: int) -> dict[int, int]:
    """The processes of a run by their local ranks; `pid` is that of the one that started them."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent != pid or b"ssl_zoo.training.job" not in (folder / "cmdline").read_bytes():
                continue
            entries = (folder / "environ").read_bytes().decode().split("\0")
        except OSError:  # it has ended
            continue
        env = dict(entry.partition("=")[::2] for entry in entries)
        found[int(env["LOCAL_RANK"])] = int(folder.name)
    return found


def runs(pid: int) -> bool:
    """Whether a process runs: one that has ended is no process, or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
