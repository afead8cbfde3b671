"""SimSiam against its paper's algorithm 1, written out in plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from helpers.pseudo_code import (
    LR,
    Case,
    Trained,
    assert_same,
    batches,
    descend,
    predictive,
    train_ours,
    unit,
)
from helpers.steps import HEAD, PREDICTOR, net
from ssl_zoo.losses import NegativeCosine
from ssl_zoo.methods import Method, SimSiam
from ssl_zoo.modules import Lagged, StopGradient
from ssl_zoo.optim import warmup_cosine
from ssl_zoo.types import Facts

pytestmark = pytest.mark.usefixtures("double")


def test_a_lag_of_one_step_is_a_stopped_gradient() -> None:
    methods = []
    for target in (StopGradient, partial(Lagged, every=1)):
        torch.manual_seed(0)
        methods.append(predictive(SimSiam, target, NegativeCosine()))
    losses = [train_ours(method) for method in methods]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)
    assert_same(methods[0].encoder, methods[1].encoder)
    assert_same(methods[0].predictor, methods[1].predictor)


def test_the_predictors_rate_is_constant() -> None:
    method = predictive(SimSiam, StopGradient, NegativeCosine())
    optimizer = torch.optim.SGD(method.param_groups(), lr=LR)
    scheduler = warmup_cosine(optimizer, total_steps=10, warmup_epochs=0, epochs=1)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"encoder": pytest.approx(0), "predictor": LR}


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two(target: Callable[..., nn.Module] = StopGradient) -> Method:
    return SimSiam(net(), HEAD, PREDICTOR, target, NegativeCosine())


TWO_PROCESSES = {"simsiam": on_two, "simsiam_lagged": partial(on_two, partial(Lagged, every=2))}
RESUMES = {
    "simsiam": [
        *("ablation=simsiam_alternation_epoch", "method.hidden_dim=16", "method.embed_dim=16"),
    ]
}


def algorithm_1(method: Method) -> Trained:
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    h = copy.deepcopy(method.predictor)
    optimizer = torch.optim.SGD([*f.parameters(), *h.parameters()], lr=LR, momentum=0.9)
    losses = []
    for batch in batches():
        z1, z2 = f(batch.views[0]), f(batch.views[1])
        p1, p2 = h(z1), h(z2)
        d12 = -(unit(p1) * unit(z2.detach())).sum(1).mean()
        d21 = -(unit(p2) * unit(z1.detach())).sum(1).mean()
        loss = d12 / 2 + d21 / 2
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f, "predictor": h}


def alternation(method: Method, steps: int) -> Trained:
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    h, eta = copy.deepcopy(method.predictor), copy.deepcopy(f)
    optimizer = torch.optim.SGD([*f.parameters(), *h.parameters()], lr=LR, momentum=0.9)
    losses = []
    for step, (views, *_) in enumerate(batches(), start=1):
        p1, p2 = h(f(views[0])), h(f(views[1]))
        with torch.no_grad():
            z1, z2 = eta(views[0]), eta(views[1])
        d12, d21 = (-(unit(p) * unit(z)).sum(1).mean() for p, z in ((p1, z2), (p2, z1)))
        loss = d12 / 2 + d21 / 2
        descend(optimizer, loss)
        if step % steps == 0:
            eta = copy.deepcopy(f)
        losses.append(loss.item())
    return losses, {"encoder": f, "predictor": h}


def alternating(every: int | str, steps_per_epoch: int, steps: int) -> Case:
    target, epoch = partial(Lagged, every=every), {"facts": Facts(steps_per_epoch=steps_per_epoch)}
    make = partial(predictive, SimSiam, target, NegativeCosine(), **epoch)
    return Case(make, partial(alternation, steps=steps))


PSEUDO_CODE = {
    "simsiam": Case(partial(predictive, SimSiam, StopGradient, NegativeCosine()), algorithm_1),
    "simsiam_every_step": alternating(1, 4, 1),
    "simsiam_every_2_steps": alternating(2, 4, 2),
    "simsiam_every_3_steps": alternating(3, 4, 3),
    "simsiam_every_epoch_of_2": alternating("epoch", 2, 2),
    "simsiam_every_epoch_of_3": alternating("epoch", 3, 3),
}
