from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ssl_zoo.choices import CONFIG_DIR
from ssl_zoo.config import register_resolvers

# What makes the real config cheap: a few hundred images, a tiny net, one epoch.
TINY = [
    "dataset.splits.num_train=300",
    "dataset.splits.num_test=60",
    "backbone.widths=[8,16]",
    "backbone.strides=[2,2]",
    "epochs=1",
    "batch_size=64",
    "precision=32-true",
    "log_every_n_steps=1",
    "name=test",
]


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)  # threads that outnumber the free cores wait on each other


@pytest.fixture
def double() -> Iterator[None]:
    """New tensors are float64, for comparisons to 1e-9."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose conf/train.yaml with overrides, made tiny, writing below tmp_path."""
    register_resolvers()

    def make(
        *overrides: str, tiny: bool = True, name: str = "train", run: str = "run"
    ) -> DictConfig:
        with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            base = [*TINY, f"run_dir={tmp_path / run}"] if tiny else [f"run_dir={tmp_path / run}"]
            return compose(name, [*base, *overrides])

    return make
