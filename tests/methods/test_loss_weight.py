"""A factor on the loss: what it reaches, and that 1 changes nothing."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from helpers.configs import Make
from ssl_zoo.backbones import ConvNet
from ssl_zoo.config import CONFIG_DIR, instantiate, naming_knobs
from ssl_zoo.losses import InfoNCE
from ssl_zoo.methods import SimCLR
from ssl_zoo.modules import MLP, InBatch
from ssl_zoo.optim import LARS, build_optimizer
from ssl_zoo.run_folder import RunFolder
from ssl_zoo.train import train
from ssl_zoo.types import Facts, MultiViewBatch, UserError


def simclr(**shared: Any) -> SimCLR:
    torch.manual_seed(0)
    parts = {"projector": partial(MLP, out_dim=8), "negatives": InBatch, "loss": InfoNCE(0.5)}
    return SimCLR(ConvNet((8, 16), (2, 2)), **parts, **shared)


def batch() -> MultiViewBatch:
    generator = torch.Generator().manual_seed(1)
    views = [torch.randn(16, 3, 8, 8, generator=generator) for _ in range(2)]
    return MultiViewBatch(views, torch.full((16,), -1), torch.arange(16))


def gradients(method: SimCLR) -> tuple[Tensor, dict[str, Tensor]]:
    loss = method.step(batch()).loss
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


def test_it_multiplies_the_loss_and_every_gradient() -> None:
    loss, plain = gradients(simclr())
    twice, doubled = gradients(simclr(loss_weight=2.0))
    assert torch.equal(twice, 2 * loss)
    assert plain.keys() == doubled.keys()
    assert all(torch.equal(doubled[name], 2 * plain[name]) for name in plain)


def test_at_1_nothing_changes() -> None:
    method, data = simclr(loss_weight=1.0), batch()
    embeddings = method.embed(data.views)
    expected = method.objective(embeddings, data.index, data.label)
    found = simclr().step(data)
    assert torch.equal(found.loss, expected.loss)
    assert found.metrics.keys() == expected.metrics.keys()


def moved(weight: float) -> dict[str, Tensor]:
    """What one step of LARS adds to each parameter."""
    make = partial(build_optimizer, weight_decay=0.0, optimizer=partial(LARS, lr=1.0))
    method = simclr(loss_weight=weight)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optimizer = make(method.param_groups())
    gradients(method)
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in method.named_parameters()}


def test_under_lars_it_reaches_norms_and_biases_only() -> None:
    once, twice = moved(1.0), moved(2.0)
    assert {once[name].ndim > 1 for name in once} == {True, False}
    for name, step in once.items():
        expected = step if step.ndim > 1 else 2 * step
        torch.testing.assert_close(twice[name], expected, rtol=1e-4, atol=1e-7, msg=name)


@pytest.mark.parametrize("path", sorted((Path(CONFIG_DIR) / "method").glob("*.yaml")))
def test_every_method_has_the_knob(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert content["loss_weight"] == 1.0
    assert content["module"]["loss_weight"] == "${method.loss_weight}"


@pytest.mark.slow
def test_a_run_shows_it(make_config: Make, caplog: pytest.LogCaptureFixture) -> None:
    short = ["callbacks=none", "trainer.max_steps=2", "method.loss_weight=2"]
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(make_config(*short))
    assert metrics["train/loss_weight"] == 2
    folder = RunFolder(Path(make_config().run_dir))
    assert [value for _, value in folder.read_metrics()["train/loss_weight"]] == [2.0, 2.0]
    assert "; loss times 2; " in caplog.text
    assert folder.read_result()["facts"]["loss_weight"] == 2


@pytest.mark.parametrize("value", ["0", "-1", "abc", "null", "true", ".inf"])
def test_weights_that_make_no_sense(make_config: Make, value: str) -> None:
    cfg = make_config(f"method.loss_weight={value}")
    line = r"^method\.loss_weight=\S+: must be (a number )?above 0( and finite)?$"
    with pytest.raises(UserError, match=line), naming_knobs(cfg):
        instantiate(cfg.method.module, _partial_=True)(facts=Facts())
