"""The sweeps of conf/wandb_sweep, their commands expanded as W&B's agent does it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from helpers.configs import TINY, Make
from helpers.paths import ROOT
from helpers.tiers import only
from helpers.wandb_reader import offline_runs
from ssl_zoo.config import TRAIN_ROOTS, check_overrides, flatten, options_of, to_plain
from ssl_zoo.config.quoting import plain_texts

SWEEPS = sorted(path.stem for path in (ROOT / "conf" / "wandb_sweep").glob("*.yaml"))


def sweep_of(name: str) -> dict[str, Any]:
    text = (ROOT / "conf" / "wandb_sweep" / f"{name}.yaml").read_text()
    return dict(yaml.safe_load(text))


def sampled(parameter: dict[str, Any], draw: random.Random) -> Any:
    """A value as W&B's server draws it."""
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return draw.choice(parameter["values"])
    if parameter["distribution"] == "uniform":
        return draw.uniform(parameter["min"], parameter["max"])
    assert parameter["distribution"] == "log_uniform_values"
    low, high = np.log(parameter["min"]), np.log(parameter["max"])
    return float(np.exp(draw.uniform(low, high)))


def agents_command(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """The command of wandb.wandb_agent.Agent._command_run."""
    parts = create_sweep_command_args({"args": {k: {"value": v} for k, v in values.items()}})
    parts |= {"interpreter": [sys.executable], "program": [sweep["program"]]}
    parts["env"] = ["/usr/bin/env"]
    command: list[str] = []
    for word in create_sweep_command(list(sweep["command"])):
        command += parts[word[2:-1]] if word.startswith("${") else [word]
    return command


@pytest.mark.parametrize(
    ("name", "seed"), only([("random", 0)], [(name, i) for name in SWEEPS for i in range(3)])
)
def test_arguments_of_a_sweep_compose(make_config: Make, name: str, seed: int) -> None:
    sweep = sweep_of(name)
    draw = random.Random(seed)
    values = {name: sampled(parameter, draw) for name, parameter in sweep["parameters"].items()}
    command = agents_command(sweep, values)
    assert command[:4] == ["/usr/bin/env", sys.executable, "train.py", "logger=wandb"]
    args = plain_texts(command[3:])
    cfg = make_config(*args, "name=test", tiny=False)
    groups = ["logger", "method", "method/projector"]
    check_overrides(cfg, args, groups, TRAIN_ROOTS)
    flat = flatten(to_plain(cfg))
    for knob, value in values.items():
        if options_of(knob):
            assert value in options_of(knob)
        else:
            assert (flat[knob], type(flat[knob])) == (value, type(value)), knob
    assert sweep["metric"] == {"name": "val/knn_top1", "goal": "maximize"}


def test_the_three_kinds_are_there() -> None:
    assert {name: sweep_of(name)["method"] for name in SWEEPS} == {
        "bayes": "bayes",
        "grid": "grid",
        "random": "random",
    }
    assert sweep_of("bayes")["early_terminate"]["type"] == "hyperband"


@pytest.mark.slow
def test_a_run_that_the_agent_starts(tmp_path: Path) -> None:
    """Of values in every form that a sweep may have."""
    values = {
        "clip_norm": None,
        "dataset.mean": [0.5, 0.5, 0.5],
        "augmentation.views": [{"blur": 1.0}, {"blur": 0.1, "solarize": 0.2}],
        "optimizer": {"weight_decay": 1e-06, "exclude_bias_and_norm": True},
        "logger.wandb.notes": "two words, and {more}",
        "callbacks": "none",
        "logger.wandb.tags": ["a b", "c"],
    }
    command = agents_command(sweep_of("random"), values)
    environment = os.environ | {
        "WANDB_MODE": "offline",
        "WANDB_SWEEP_ID": "sweep123",
        "WANDB_RUN_ID": "run12345",
        "WANDB_DATA_DIR": str(tmp_path / "data"),
    }
    short = [*TINY, "trainer.max_steps=1", f"run_dir={tmp_path / 'run'}"]
    ended = subprocess.run(
        [*command, *short], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    (run,) = offline_runs(tmp_path / "run")
    assert (run.id, run.exit_code) == ("run12345", 0)
    assert (run.notes, run.tags) == ("two words, and {more}", ["a b", "c"])
    assert run.config["clip_norm"] is None
    assert run.config["dataset.mean"] == [0.5, 0.5, 0.5]
    assert run.config["augmentation.views"] == values["augmentation.views"]
    assert run.config["optimizer.weight_decay"] == 1e-06
    assert run.config["optimizer"] == "adamw"
