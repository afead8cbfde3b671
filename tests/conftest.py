"""Fixtures of many rooms."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch comes in, and for the processes that tests start: threads that outnumber the free
# cores wait on each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from helpers.configs import TINY
from helpers.pictures import draw_as_asked, draw_coarsely
from helpers.programs import run_train
from ssl_zoo.config import CONFIG_DIR, register_resolvers


@pytest.fixture(scope="session", autouse=True)
def _coarse_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        draw_coarsely(patch)
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures as a user sees them."""
    draw_as_asked(monkeypatch)


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


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run_train(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to write in."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
