"""What a run ended with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from helpers.configs import TINY, Make
from helpers.paths import ROOT
from helpers.programs import run_train
from ssl_zoo.protocols.runner.sweep import runs_of
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.stopping import Stopped
from ssl_zoo.training.memory import no_memory as line_of
from ssl_zoo.training.statuses import status_of
from ssl_zoo.types import NotFinite, UserError


def raised(by: BaseException, cause: BaseException) -> BaseException:
    try:
        raise by from cause
    except BaseException as error:
        return error


def no_memory() -> BaseException:
    """As torch says it on a CPU."""
    try:
        torch.empty(2**47)
    except RuntimeError as error:
        return error
    raise AssertionError


STATUSES = {
    "nan": [NotFinite("the loss is nan")],
    "out_of_memory": [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried"), "cpu"],
    "interrupted": [KeyboardInterrupt(), Stopped(15), Stopped(10, 0)],
    "failed": [UserError("nan"), RuntimeError("out of cookies"), SystemExit(3)],
}


@pytest.mark.parametrize("status", STATUSES)
def test_the_status_of_an_error(status: str) -> None:
    for error in STATUSES[status]:
        one = no_memory() if isinstance(error, str) else error
        assert isinstance(one, BaseException)
        assert status_of(one) == status, error


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (None, "524,288.0 GiB were asked for at once: make one of "),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU"), "2.00 GiB"),
        (MemoryError(), "MemoryError: "),
    ],
)
def test_no_memory_names_the_largest_sizes(
    make_config: Make, error: BaseException | None, amount: str
) -> None:
    cfg = make_config("method=moco", "method.queue_size=77777", "batch_size=5000")
    said = line_of(cfg, error or no_memory())
    assert said.startswith(f"out of memory: {amount}")
    assert "make one of method.queue_size=77777, batch_size=5000, " in said


@pytest.mark.slow
def test_no_memory_ends_the_command_line_in_one_line(tmp_path: Path) -> None:
    huge = ["method=nnclr", f"method.queue_size={10**14}"]
    command = [sys.executable, "train.py", f"run_dir={tmp_path / 'run'}", *TINY, *huge]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: out of memory: 95,367,431.6 GiB were")


def test_the_cause_behind_an_error_counts() -> None:
    assert status_of(raised(InstantiationException("x"), no_memory())) == "out_of_memory"
    assert status_of(raised(UserError("x"), ValueError("y"))) == "failed"


def test_a_run_that_has_collapsed_says_so_and_counts_as_ended(tmp_path: Path) -> None:
    never = ["callbacks.collapse_monitor.min_std=2", "callbacks.collapse_monitor.min_steps=0"]
    run = RunFolder(run_train(tmp_path / "0", *never))
    result = run.read_result()
    assert result["status"] == "collapsed"
    assert result["facts"]["collapsed"].startswith("std ")
    assert result["metrics"]["val/knn_top1"] > 0
    assert run.unfinished() == ""
    sweep = runs_of([str(tmp_path)])
    assert sweep is not None
    assert [member.name for member in sweep.members] == ["0"]
