"""Barlow Twins against the paper's algorithm 1, with batch norm's standard deviation."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from helpers.golden import assert_golden, golden, tensor
from helpers.pseudo_code import LR, Case, Net, Trained, batches, descend
from helpers.steps import HEAD, net
from ssl_zoo.losses import CrossCorrelation
from ssl_zoo.methods import BarlowTwins, Method
from ssl_zoo.modules import MLP
from ssl_zoo.optim import LARS, build_optimizer, warmup_cosine

pytestmark = pytest.mark.usefixtures("double")

GOLDEN_PARTS = ("settings", "inputs", "expected")


def test_lars_and_its_rates_are_the_official_codes() -> None:
    """Four steps: biases at a rate of their own, neither decayed nor adapted; a matrix of zeros."""
    settings, inputs, expected = (golden("barlow/lars_4_steps")[k] for k in GOLDEN_PARTS)
    params = {name: nn.Parameter(tensor(inputs[name])) for name in ("w", "b", "z")}
    optimizer = build_optimizer(
        [{"name": "all", "params": list(params.values()), "constant_lr": False}],
        partial(LARS, lr=2 * settings["lr_weights"], lr_in_buffer=False),
        weight_decay=settings["weight_decay"],
        bias_and_norm_lr_multiplier=settings["lr_biases"] / settings["lr_weights"],
    )
    total = settings["epochs"] * settings["steps_per_epoch"]
    lengths = {"warmup_epochs": settings["warmup_epochs"], "epochs": settings["epochs"]}
    scheduler = warmup_cosine(optimizer, total_steps=total, final=0.001, **lengths)
    for k, step in enumerate(settings["steps"]):
        for group, base in zip(optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = base * scheduler.lr_lambdas[0](step)  # these steps only were recorded
        weights, biases = optimizer.param_groups
        rates = (expected[f"{k}.lr_weights"], expected[f"{k}.lr_biases"])
        assert (weights["lr"], biases["lr"]) == pytest.approx(rates, rel=1e-9)
        for name, p in params.items():
            p.grad = tensor(inputs[f"grad_{name}"][k])
        optimizer.step()
        for name, p in params.items():
            assert_golden(p, expected[f"{k}.{name}"])
        for name in ("w", "b"):
            buffer = optimizer.state[params[name]]["momentum_buffer"]
            assert_golden(buffer, expected[f"{k}.mu_{name}"])


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    return BarlowTwins(net(), HEAD, CrossCorrelation())


TWO_PROCESSES = {"barlow_twins": on_two}
RUNS_OF_TWO = {
    "barlow_twins": [
        *("method=barlow_twins", "method.hidden_dim=16", "method.projector.hidden_norm=false"),
        "callbacks=none",
    ]
}
RESUMES = {"barlow_twins": ["method=barlow_twins", "method.hidden_dim=16", "method.embed_dim=16"]}


def make() -> Method:
    projector = partial(MLP, out_dim=4, hidden_dim=6, num_layers=3, out_bias=False)
    return BarlowTwins(Net(), projector, CrossCorrelation())


def algorithm_1(method: Method) -> Trained:
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    losses = []
    for y_a, y_b in (batch.views for batch in batches()):
        z_a, z_b = f(y_a), f(y_b)
        n, d = z_a.shape
        loss = torch.zeros(())
        a, b = ((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in (z_a, z_b))
        for i in range(d):
            for j in range(d):
                c_ij = (a[:, i] * b[:, j]).sum() / n
                loss = loss + ((c_ij - 1) ** 2 if i == j else 0.0051 * c_ij**2)
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f}


PSEUDO_CODE = {"barlow_twins": Case(make, algorithm_1)}
