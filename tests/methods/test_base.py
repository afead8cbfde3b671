"""What all methods share: passes apart from the objective, hooks of a step, and a small base."""

from __future__ import annotations

import ast
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from helpers.configs import Make
from helpers.paths import ROOT
from ssl_zoo import methods
from ssl_zoo.config import instantiate as build
from ssl_zoo.losses import ContrastiveLoss, LabelledLoss, PredictiveLoss, StatisticLoss
from ssl_zoo.methods import Method, SimCLR
from ssl_zoo.modules import Encoder, Identity, InBatch
from ssl_zoo.training.run import build_method
from ssl_zoo.types import BadValue, Embeddings, Facts, MultiViewBatch, StepOutput


def without_docstrings(source: str) -> list[str]:
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            text = node.body[0]
            assert text.end_lineno is not None
            lines[text.lineno - 1 : text.end_lineno] = [None] * (text.end_lineno - text.lineno + 1)
    return [line for line in lines if line is not None]


def test_the_base_is_under_100_lines() -> None:
    source = (ROOT / "ssl_zoo" / "methods" / "base.py").read_text()
    assert 50 < len(without_docstrings(source)) < 100


ALL = [getattr(methods, name) for name in methods.__all__ if name != "Method"]


@pytest.mark.parametrize("method", ALL)
def test_a_method_is_its_passes_and_its_objective(method: type[Method]) -> None:
    assert method.__bases__ == (Method,)
    assert {"embed", "objective"} <= vars(method).keys()
    assert "step" not in vars(method)
    kinds = (ContrastiveLoss, PredictiveLoss, StatisticLoss, LabelledLoss, nn.Module)
    assert method.takes in kinds


# --- hooks --------------------------------------------------------------------------------------


class Backbone(nn.Linear):
    num_features = 2

    def __init__(self) -> None:
        super().__init__(2, 2)


class Limited(Method):
    """Its second parameter's gradients are taken away, and it remembers what is called when."""

    def __init__(self, **shared: Any) -> None:
        super().__init__(partial(torch.optim.SGD, lr=0.1), **shared)
        self.encoder = Encoder(Backbone(), Identity(2))
        self.seen: list[tuple[str, float, bool]] = []
        self.weight = self.encoder.backbone.get_parameter("weight")
        self.started = self.weight.detach().clone()

    def embed(self, views: list[Tensor]) -> Embeddings:
        h, z = self.encoder(views[0])
        return Embeddings(h.detach(), [z], {}, [])

    def objective(self, embeddings: Embeddings, index: Tensor, label: Tensor) -> StepOutput:
        (z,) = embeddings.online
        loss = (z - 3).square().sum()
        return StepOutput(loss, embeddings.representation, z.detach(), {})

    def remember(self, name: str, progress: float) -> None:
        self.seen.append((name, progress, torch.equal(self.weight.detach(), self.started)))
        self.started = self.weight.detach().clone()

    def before_step(self, progress: float) -> None:
        self.remember("before_step", progress)
        bias = self.encoder.backbone.get_parameter("bias")
        assert self.weight.grad is not None
        assert self.weight.grad.abs().sum() > 0
        bias.grad = None

    def update(self, progress: float) -> None:
        self.remember("update", progress)


@pytest.mark.parametrize("facts", [Facts(), Facts(total_steps=4), Facts(total_steps=8)])
def test_each_optimizer_step_has_one_call_before_and_one_after(facts: Facts) -> None:
    method = Limited(facts=facts)
    bias = method.encoder.backbone.get_parameter("bias")
    before = bias.detach().clone()
    none = torch.full((4,), -1)
    batches = [MultiViewBatch([torch.randn(4, 2)], none, torch.arange(4)) for _ in range(4)]
    trainer = Trainer(
        max_epochs=2,
        accumulate_grad_batches=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, DataLoader(batches, batch_size=None))
    total = facts.total_steps or 4  # where it is not known, the trainer says how many
    expected = []
    for step in range(4):
        expected += [("before_step", step / total, True), ("update", step / total, False)]
    assert method.seen == expected
    assert torch.equal(bias, before)


# --- what is scored -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "scored_on"),
    [
        (["method=simclr"], "representation"),
        (["method=metric_learning"], "embedding"),
        (["method=metric_learning", "method.scored_on=representation"], "representation"),
    ],
)
def test_the_config_says_what_is_scored(
    make_config: Make, overrides: list[str], scored_on: str
) -> None:
    cfg = make_config(*overrides)
    assert build_method(cfg, build(cfg.data)).scored_on == scored_on
    assert cfg.method.get("scored_on", "representation") == scored_on  # as evaluate.py reads it


def test_nothing_else_is_scored() -> None:
    with pytest.raises(BadValue, match=r"^scored_on=h: must be representation or embedding$"):
        SimCLR(Backbone(), Identity, InBatch, ContrastiveLoss(), scored_on="h")
