"""BYOL against its pseudo-code, written out in plain PyTorch."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from helpers.pseudo_code import LR, STEPS, Case, Trained, batches, descend, predictive, unit
from helpers.steps import HEAD, PREDICTOR, net
from ssl_zoo.losses import NormalizedMSE
from ssl_zoo.methods import BYOL, Method
from ssl_zoo.modules import Momentum

pytestmark = pytest.mark.usefixtures("double")


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    target = partial(Momentum, momentum=0.6, final_momentum=1.0)
    return BYOL(net(), HEAD, PREDICTOR, target, NormalizedMSE())


TWO_PROCESSES = {"byol": on_two}
RESUMES = {"byol": ["method=byol", "method.hidden_dim=16", "method.predictor_dim=16"]}


def pseudo_code(method: Method) -> Trained:
    online = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    xi, q = copy.deepcopy(online), copy.deepcopy(method.predictor)
    optimizer = torch.optim.SGD([*online.parameters(), *q.parameters()], lr=LR, momentum=0.9)
    losses = []
    for k, batch in enumerate(batches()):
        x1, x2 = batch.views
        p1, p2 = q(online(x1)), q(online(x2))
        with torch.no_grad():
            z1, z2 = xi(x1), xi(x2)
        rows = (unit(p1) - unit(z2)).square().sum(1) + (unit(p2) - unit(z1)).square().sum(1)
        loss = rows.mean()
        descend(optimizer, loss)
        tau = 1 - (1 - 0.7) * (math.cos(math.pi * k / STEPS) + 1) / 2
        with torch.no_grad():
            for p_t, p_o in zip(xi.parameters(), online.parameters(), strict=True):
                p_t.copy_(tau * p_t + (1 - tau) * p_o)
        losses.append(loss.item())
    return losses, {"encoder": online, "target.encoder": xi, "predictor": q}


ANNEALED = partial(Momentum, momentum=0.7, final_momentum=1.0)
PSEUDO_CODE = {"byol": Case(partial(predictive, BYOL, ANNEALED, NormalizedMSE()), pseudo_code)}
