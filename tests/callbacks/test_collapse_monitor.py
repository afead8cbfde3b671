"""A collapse is told, and no other run is called one."""

from __future__ import annotations

import logging

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from helpers.configs import Make
from ssl_zoo.callbacks import CollapseMonitor
from ssl_zoo.train import train
from ssl_zoo.training.build import build_callbacks
from ssl_zoo.types import MultiViewBatch, StepOutput


class Collapse(Callback):
    """Makes every embedding the same, from outside."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = pl_module.step

        def collapsed(batch: MultiViewBatch) -> StepOutput:
            output = step(batch)  # type: ignore[operator]
            return output._replace(embedding=torch.ones_like(output.embedding))

        pl_module.step = collapsed  # type: ignore[assignment]


@pytest.mark.slow
@pytest.mark.parametrize("collapsed", [False, True])
def test_a_collapse_is_told(
    make_config: Make,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    collapsed: bool,
) -> None:
    def with_collapse(*args):  # type: ignore[no-untyped-def]
        return [Collapse(), *build_callbacks(*args)] if collapsed else build_callbacks(*args)

    monkeypatch.setattr("ssl_zoo.training.run.build_callbacks", with_collapse)
    with caplog.at_level(logging.WARNING, "ssl_zoo"):
        early = ["callbacks.collapse_monitor.min_steps=1", "callbacks.collapse_monitor.min_std=0.1"]
        metrics = train(make_config("epochs=3", *early))
    told = [record for record in caplog.records if "have collapsed" in record.getMessage()]
    assert len(told) == int(collapsed)
    assert (metrics["collapse/std"] < 0.01) == collapsed


def found(*batches: tuple[Tensor, Tensor]) -> str:
    """What a monitor says of batches of embeddings and labels, at the end of an epoch."""
    monitor = CollapseMonitor()
    monitor.recent, monitor.labels = map(list, zip(*batches, strict=True))
    return monitor._collapsed(float(monitor.measure()["collapse/std"]))


def drawn(n: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


TEN = torch.arange(600) % 10
NONE = torch.full((600,), -1)


@pytest.mark.parametrize("label", [TEN, NONE], ids=["labelled", "unlabelled"])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3])
def test_a_point_and_a_line_are_told_whatever_is_left_around_them(
    label: Tensor, scale: float
) -> None:
    """VICReg without variance: RankMe is 70 of 256; SimSiam without stop-gradient: std is 1."""
    around_a_point = 4 * torch.ones(600, 256) + drawn(600, 256)
    assert found((scale * around_a_point, label)).startswith("std 0.2")
    both_ends = torch.sign(drawn(600, 1, seed=1)) * drawn(1, 64, seed=2) + 0.05 * drawn(600, 64)
    says = found((scale * both_ends, label))
    assert says.endswith("(1 = healthy), variance in 1.0 directions of 64")
    assert float(says.split()[1]) > 0.7
    assert found((scale * drawn(600, 64), label)) == ""


@pytest.mark.parametrize("width", [64, 2048, 8192])
def test_few_clusters_have_not_collapsed_whatever_the_width(width: int) -> None:
    """Three clusters vary in two directions: 5% of 2,048 would be 102."""
    label = torch.arange(600) % 3
    clusters = drawn(3, width)[label] + 0.1 * drawn(600, width, seed=1)
    assert found((clusters, torch.full((600,), -1))) == ""


def test_a_direction_that_relu_gives_all_is_no_collapse() -> None:
    """Non-negative embeddings have a mean cosine of 0.64 even if they are spread evenly."""
    spread = 0.3 * drawn(600, 64).abs() + 0.2
    assert found((spread, NONE)) == ""
    both_signs = torch.cat([-spread[:1], spread[1:]])
    assert found((both_signs, NONE)) != ""
    assert found((0.05 * drawn(600, 64).abs() + 0.2, NONE)) != ""


def test_two_classes_on_a_line_are_told_apart() -> None:
    """Supervised training ends there; a line that the labels do not explain has collapsed."""
    label = torch.arange(600) % 2
    line = (2 * label[:, None] - 1) * drawn(1, 64) + 0.05 * drawn(600, 64, seed=1)
    assert found((line, label)) == ""
    assert found((line, torch.arange(600) // 300)) != ""
    assert found((line, torch.full((600,), -1))) != ""


def test_what_is_not_finite_has_collapsed() -> None:
    z = drawn(600, 16)
    z[3, 1] = float("nan")
    assert found((z, TEN)).startswith("std nan")


def test_rows_are_enough_for_the_rank_and_no_more() -> None:
    """Of 8,192 dimensions 1,024 rows, in an eighth of a batch of 8,192 or four of 256."""

    class Run:
        accumulate_grad_batches, is_last_batch, global_step, max_steps = 1, False, 3, 9
        log_every_n_steps, should_stop, loggers = 50, False, ()

    for size, dim, rows in ((256, 8192, 1024), (2048, 512, 1024), (64, 32, 64), (256, 200, 512)):
        monitor = CollapseMonitor()
        for _ in range(6):
            batch = MultiViewBatch([], torch.zeros(size).long(), torch.arange(size))
            output = {"embedding": torch.ones(size, dim)}
            monitor.on_train_batch_end(Run(), None, output, batch, 3)  # type: ignore[arg-type]
        assert monitor._embeddings().shape == (rows, dim)
        assert len(torch.cat(monitor.labels)) == len(torch.cat(monitor.recent))


@pytest.mark.parametrize(("before", "says"), [(0.15, ""), (0.25, "std 0.2"), (None, "std 0.2")])
def test_a_point_that_is_still_spreading_has_not_collapsed(before: float | None, says: str) -> None:
    """SupCon on two classes: std 0.29 after 100 steps, 0.33 after 200, 0.46 in the end."""
    monitor = CollapseMonitor()
    monitor.recent, monitor.labels = [4 * torch.ones(600, 256) + drawn(600, 256)], [NONE]
    std = float(monitor.measure()["collapse/std"])
    early = [] if before is None else [(100, before)]
    monitor.load_state_dict({"history": [(10, 0.9), *early, (150, 0.1), (200, std)]})
    if before is None:
        monitor.history = monitor.history[-1:]
    assert monitor._collapsed(std).startswith(says)
    assert bool(monitor._collapsed(std)) == bool(says)
