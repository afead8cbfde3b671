"""W&B's knobs, its refusals in one line, and loggers that are not ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
import yaml
from omegaconf import DictConfig

from helpers.configs import Make
from helpers.wandb_reader import read_run
from ssl_zoo.config import naming_knobs
from ssl_zoo.loggers import start
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.training.build import build_loggers
from ssl_zoo.types import UserError

SHORT = ["callbacks=none", "trainer.max_steps=1"]


@pytest.fixture
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """W&B without a key, its server out of reach."""
    wandb.teardown()  # which has read the environment of earlier tests
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    yield
    wandb.teardown()


def opened(cfg: DictConfig, message: str) -> None:
    """The loggers of a run whose W&B does not open."""
    with pytest.raises(UserError, match=message), naming_knobs(cfg):
        start(build_loggers(cfg, RunFolder(cfg.run_dir)), {})


@pytest.mark.slow
def test_wandbs_own_variables_hold_where_no_knob_is_given(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    assert make_config("logger=wandb").logger.wandb.project == "theirs"
    assert make_config("logger=wandb", "logger.wandb.project=x").logger.wandb.project == "x"
    monkeypatch.setenv("WANDB_MODE", "offlin")
    for mode in ("auto", "offline", "disabled"):  # W&B itself reads the variable in all
        opened(make_config("logger=wandb", f"logger.wandb.mode={mode}"), "^WANDB_MODE=offlin: must")


@pytest.mark.slow
def test_wandb_holds_its_knobs(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    knobs = ["tags=[first,7]", "notes='two words'", "entity=team", "project=mine", "group=g"]
    train(make_config("logger=wandb", *SHORT, *(f"logger.wandb.{k}" for k in knobs), "name=123"))
    wandb.teardown()  # waits until all is on disk
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    run = read_run(path)
    assert (run.tags, run.notes) == (["first", "7"], "two words")
    assert (run.entity, run.project, run.group) == ("team", "mine", "g")
    assert (run.name, run.exit_code) == ("123-run", 0)
    assert run.config["logger.wandb.tags"] == ["first", 7]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("logger.wandb.tags=[a,{b:1}]", r"^logger\.wandb\.tags=.*: must be texts of 1 to 64"),
        ("logger.wandb.notes=[a]", r"^logger\.wandb\.notes=\['a'\]: must be a text$"),
        ("logger.wandb.mode=offlin", r"^logger\.wandb\.mode=offlin: must be one of auto, online"),
        ("logger.wandb.project=a/b", r"^logger=wandb: Invalid project name 'a/b'"),
        ("+logger.wandb.nonsense=1", r"^logger=wandb: .*unexpected keyword argument 'nonsense'"),
    ],
)
def test_what_wandb_does_not_take_is_one_line(
    make_config: Make, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    opened(make_config("logger=wandb", override), message)


@pytest.mark.usefixtures("no_key")
def test_wandb_without_a_key_is_one_line(make_config: Make) -> None:
    message = r"no valid API key: run `wandb login`, .*mode=offline"
    opened(make_config("logger=wandb", "logger.wandb.mode=online"), message)


@pytest.mark.slow
def test_another_logger_is_a_config_line(make_config: Make, tmp_path: Path) -> None:
    other = ["+logger.other._target_=pytorch_lightning.loggers.CSVLogger"]
    metrics = train(make_config(*SHORT, *other, f"+logger.other.save_dir={tmp_path / 'other'}"))
    (folder,) = (tmp_path / "other" / "lightning_logs").iterdir()
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    losses = [row["train/loss"] for row in rows if row["train/loss"]]
    assert float(losses[-1]) == pytest.approx(metrics["train/loss"])
    assert yaml.safe_load((folder / "hparams.yaml").read_text())["method.temperature"] == 0.1
