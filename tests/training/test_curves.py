"""Curves of short epochs: what is logged, at which steps, and what stands beside it."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers.configs import Make
from helpers.tiers import only
from helpers.wandb_reader import read_run
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.training.steps import Rhythm

SHORT = ["epochs=2", "callbacks=none"]  # 4 steps of 64 images an epoch


def rows_of(folder: Path, name: str) -> list[tuple[int, int, int]]:
    """The step, epoch and images_seen of each row of a metric."""
    with (folder / "metrics.csv").open() as file:
        found = [row for row in csv.DictReader(file) if row["name"] == name]
    return [(int(row["step"]), int(row["epoch"]), int(row["images_seen"])) for row in found]


@pytest.mark.slow
@pytest.mark.parametrize("every", only([1000], [3, 1000]))
def test_an_epoch_shorter_than_the_logging_interval_has_curves(
    make_config: Make, tmp_path: Path, every: int
) -> None:
    rates = "+callbacks.rates._target_=ssl_zoo.callbacks.LearningRates"
    train(make_config(*SHORT, rates, run="all"))
    few = [f"log_every_n_steps={every}", "logger=tensorboard"]
    train(make_config(*SHORT, rates, *few, run="few"))
    complete = RunFolder(tmp_path / "all").read_metrics()
    curves = RunFolder(tmp_path / "few").read_metrics()

    steps = {3: [0, 2, 3, 4, 5, 7], 1000: [0, 3, 4, 7]}[every]
    assert [step for step, _ in curves["train/loss"]] == steps
    losses = dict(complete["train/loss"])
    assert curves["train/loss"] == [(step, losses[step]) for step in steps]
    means = [math.fsum(losses[step] for step in epoch) / 4 for epoch in (range(4), range(4, 8))]
    assert curves["train/loss_epoch"] == [
        (3, pytest.approx(means[0], rel=1e-6)),
        (7, pytest.approx(means[1], rel=1e-6)),
    ]
    events = EventAccumulator(str(tmp_path / "few" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == steps
    seen = {event.step: event.value for event in events.Scalars("images_seen")}
    assert seen == {step: 64 * (step + 1) for step in steps}


@pytest.mark.slow
def test_each_row_has_its_epoch_and_the_images_seen(make_config: Make, tmp_path: Path) -> None:
    half = ["accumulate=2", "trainer.limit_train_batches=3"]  # an epoch's second step is half
    train(make_config(*SHORT, *half))
    places = [(0, 0, 64), (1, 0, 96), (2, 1, 160), (3, 1, 192)]
    assert rows_of(tmp_path / "run", "train/loss") == places
    assert rows_of(tmp_path / "run", "train/loss_epoch") == [places[1], places[3]]


@pytest.mark.parametrize(
    ("rhythm", "last", "epoch", "images"),
    [
        (Rhythm(4, 1, 64), 7, 1, 512),
        (Rhythm(5, 2, 32), 2, 0, 160),
        (Rhythm(5, 2, 32), 3, 1, 224),
        (Rhythm(1, 4, 16), 2, 2, 48),
    ],
)
def test_where_a_step_lies(rhythm: Rhythm, last: int, epoch: int, images: int) -> None:
    assert (rhythm.epoch(last), rhythm.images_seen(last)) == (epoch, images)
    assert rhythm.in_epochs(rhythm.steps - 1) == 1


@pytest.mark.slow
def test_rates_are_those_of_their_steps(make_config: Make, tmp_path: Path) -> None:
    """The warm-up begins at 0, and the cosine's last step is not yet at 0."""
    schedule = ["scheduler.warmup_epochs=1", "optimizer.base_lr=0.5", "optimizer.lr_rule=none"]
    only = ["callbacks=none", "+callbacks.rates._target_=ssl_zoo.callbacks.LearningRates"]
    train(make_config("epochs=2", *only, *schedule))
    rates = RunFolder(tmp_path / "run").read_metrics()["lr/all"]
    cosine = [0.5 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    expected = [0, 0.125, 0.25, 0.375, *cosine]
    assert [step for step, _ in rates] == list(range(8))
    assert [rate for _, rate in rates] == pytest.approx(expected)


@pytest.mark.slow
def test_the_start_is_a_level_of_the_curves(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(make_config("epochs=2"))
    curves = RunFolder(tmp_path / "run").read_metrics()
    ((step, level),) = curves["val/knn_top1_at_start"]
    assert step == 0
    assert 0 <= level <= 1
    assert "val/knn_top1_at_start" not in metrics  # no score of the run
    (forecast,) = [line for line in caplog.messages if "steps left" in line]
    assert "for the 4 steps left, " in forecast
    assert "GB" in forecast


@pytest.mark.slow
def test_wandb_has_them_too(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(make_config(*SHORT, "logger=wandb", "log_every_n_steps=50"))
    wandb.teardown()  # waits until all is on disk
    (path,) = (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")
    rows = [row for row in read_run(path).history if "train/loss" in row]
    places = [(row["trainer/global_step"], row["epoch"], row["images_seen"]) for row in rows]
    assert places == [(0, 0, 64), (3, 0, 256), (4, 1, 320), (7, 1, 512)]
