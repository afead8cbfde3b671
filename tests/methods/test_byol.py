"""BYOL against its pseudo-code, written out in plain PyTorch."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from helpers.pseudo_code import (
    LR,
    STEPS,
    assert_same,
    batches,
    descend,
    predictive,
    train_ours,
    unit,
)
from ssl_zoo.losses import NormalizedMSE
from ssl_zoo.methods import BYOL
from ssl_zoo.modules import Momentum

pytestmark = pytest.mark.usefixtures("double")


def test_byol_equals_its_pseudo_code() -> None:
    base = 0.7
    target = partial(Momentum, momentum=base, final_momentum=1.0)
    method = predictive(BYOL, target, NormalizedMSE())
    online = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    xi, q = copy.deepcopy(online), copy.deepcopy(method.predictor)
    optimizer = torch.optim.SGD([*online.parameters(), *q.parameters()], lr=LR, momentum=0.9)
    expected = []
    for k, batch in enumerate(batches()):
        x1, x2 = batch.views
        p1, p2 = q(online(x1)), q(online(x2))
        with torch.no_grad():
            z1, z2 = xi(x1), xi(x2)
        rows = (unit(p1) - unit(z2)).square().sum(1) + (unit(p2) - unit(z1)).square().sum(1)
        loss = rows.mean()
        descend(optimizer, loss)
        tau = 1 - (1 - base) * (math.cos(math.pi * k / STEPS) + 1) / 2
        with torch.no_grad():
            for p_t, p_o in zip(xi.parameters(), online.parameters(), strict=True):
                p_t.copy_(tau * p_t + (1 - tau) * p_o)
        expected.append(loss.item())
    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, online)
    assert_same(method.target.encoder, xi)
    assert_same(method.predictor, q)
