"""A tiny study: two methods on a few shapes, in seconds a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from helpers.paths import ROOT
from ssl_zoo.study.settings import Settings, settings_of

TINY_STUDY: dict[str, Any] = {
    "methods": {
        "simclr": {"search": {"method.temperature": "tag(log,interval(0.05,1))"}},
        "simsiam": {
            "overrides": [
                "method=simsiam",
                "method.embed_dim=16",
                "method.hidden_dim=16",
                "method.predictor_dim=8",
                "method.projector.num_layers=2",
            ]
        },
    },
    "common": [
        "dataset=shapes",
        "dataset.splits.num_train=200",
        "dataset.splits.num_test=40",
        "backbone.widths=[8,16]",
        "backbone.strides=[2,2]",
        "epochs=2",
        "batch_size=60",
        "precision=32-true",
        "optimizer=sgd",
    ],
    "search": {"optimizer.base_lr": "tag(log,interval(0.01,1))"},
    "trials": 2,
    "rerun": {"configs": 1, "seeds": 1},
    "seeds": 2,
    "protocols": ["knn"],
    "ceiling": False,
    "oracle": False,
}


def tiny(**changes: Any) -> Settings:
    """Its settings."""
    return settings_of({"name": "tiny", **TINY_STUDY, **changes})


def write_tiny(folder: Path, **changes: Any) -> Path:
    """Its file."""
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({**TINY_STUDY, **changes}))
    return file


def start_study(*args: str) -> subprocess.Popen[str]:
    """The program, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ssl_zoo.study", *args],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
