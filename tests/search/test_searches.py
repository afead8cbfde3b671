"""Whole searches: killed, shared by two processes, pruned, joined by joblib; as a user starts them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from helpers.configs import TINY
from helpers.paths import ROOT
from helpers.runs import reached, start

CHEAP = [
    *(one for one in TINY if not one.startswith("epochs")),
    *("dataset.splits.num_train=140", "~callbacks.linear_probe", "trainer.enable_progress_bar=false"),
]
KNOBS = ["method.temperature=interval(0.02,1)", "optimizer.lr=tag(log,interval(1e-4,1e-1))"]
SEARCH = ["-m", "hydra/sweeper=optuna", *CHEAP, *KNOBS]


def table(folder: Path) -> list[list[str]]:
    """trials.csv without the seconds."""
    with (folder / "trials.csv").open(newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


def trained(output: str) -> int:
    """How many runs began in a process."""
    return output.count("SimCLR on shapes, in ")


@pytest.mark.soak
def test_a_search_killed_in_its_third_trial_ends_like_any_other(tmp_path: Path) -> None:
    line = [*SEARCH, "epochs=3", "hydra.sweeper.n_trials=6", "hydra.sweeper.sampler.n_startup_trials=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    output = start(*line, f"hydra.sweep.dir={whole}").communicate()[0]
    assert trained(output) == 6, output
    run = start(*line, f"hydra.sweep.dir={killed}")
    while not reached(killed / "2", 4):  # in its third epoch: two are saved
        assert run.poll() is None, run.communicate()[0]
    run.kill()
    first = run.communicate()[0]
    assert trained(first) == 3
    again = start(*line, f"hydra.sweep.dir={killed}")
    output = again.communicate()[0]
    assert again.returncode == 0, output
    assert f"resumed in {killed / '2'}" in output
    assert trained(output) == 3 and output.count("resumed in") == 1, output
    assert table(killed) == table(whole)
    assert len(table(whole)) == 7
    assert {row[1] for row in table(whole)[1:]} == {"finished"}
    for name in ("history.png", "importance.png", "summary.csv"):
        assert (killed / name).is_file()
    assert not (killed / "optuna_workers").exists()
