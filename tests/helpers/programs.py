"""train.py and evaluate.py, run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from helpers.command_line import command_line
from helpers.configs import TINY
from ssl_zoo.config import CONFIG_DIR
from ssl_zoo.evaluate import evaluate
from ssl_zoo.train import train


def run_train(folder: Path, *overrides: str) -> Path:
    with command_line("train", *TINY, f"run_dir={folder}", *overrides) as cfg:
        train(cfg)
    return folder


def composed(*overrides: str) -> DictConfig:
    """The config of an evaluation, composed from Python."""
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        return compose("evaluate", list(overrides))


def run_protocols(*overrides: str) -> dict[str, Any]:
    return evaluate(composed(*overrides))


def run_evaluate(*overrides: str) -> dict[str, Any]:
    """What one protocol writes."""
    (result,) = run_protocols(*overrides).values()
    return dict(result)


def folder_overrides(root: Path, cache: Path) -> list[str]:
    return [
        "dataset=folder",
        f"dataset.root={root}",
        f"dataset.cache_dir={cache}",
        "dataset.num_workers=0",
        "dataset.image_size=32",
        "batch_size=32",
        "callbacks=none",
    ]


FOLDER_TINY = [
    override for override in TINY if "splits" not in override and "batch" not in override
]


def train_on_folder(root: Path, run: Path) -> Path:
    overrides = [*FOLDER_TINY, *folder_overrides(root, run / "cache"), f"run_dir={run}"]
    with command_line("train", *overrides) as cfg:
        train(cfg)
    return run
