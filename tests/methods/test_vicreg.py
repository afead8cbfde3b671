"""VICReg against the paper's algorithm 1, written out in plain PyTorch."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu

from helpers.pseudo_code import LR, Case, Net, Trained, batches, descend
from helpers.steps import HEAD, net
from ssl_zoo.losses import VarianceInvarianceCovariance
from ssl_zoo.methods import Method, VICReg
from ssl_zoo.modules import MLP

pytestmark = pytest.mark.usefixtures("double")


def test_a_collapsed_batch_gets_no_gradient() -> None:
    """At a single point the root's slope is 0: the variance term holds off collapse, no more."""
    z = torch.ones(2, 8, 4).requires_grad_()
    loss = VarianceInvarianceCovariance()(z)
    loss.backward()
    assert loss.item() == pytest.approx(25 * 0.99)
    assert z.grad is not None
    assert z.grad.abs().max() == 0


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two() -> Method:
    return VICReg(net(), HEAD, VarianceInvarianceCovariance())


TWO_PROCESSES = {"vicreg": on_two}
RESUMES = {"vicreg": ["method=vicreg", "method.hidden_dim=16", "method.embed_dim=16"]}


def make() -> Method:
    expander = partial(MLP, out_dim=4, hidden_dim=6, num_layers=3, hidden_bias=True, out_bias=False)
    return VICReg(Net(), expander, VarianceInvarianceCovariance())


def off_diagonal(x: Tensor) -> Tensor:
    return x[~torch.eye(len(x), dtype=torch.bool)]


def algorithm_1(method: Method) -> Trained:
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    losses = []
    for x_a, x_b in (batch.views for batch in batches()):
        z_a, z_b = f(x_a), f(x_b)
        n, d = z_a.shape
        sim_loss = mse_loss(z_a, z_b)
        std_a, std_b = ((z.var(dim=0) + 1e-4).sqrt() for z in (z_a, z_b))
        std_loss = relu(1 - std_a).mean() / 2 + relu(1 - std_b).mean() / 2  # halves: the code's
        z_a, z_b = (z - z.mean(dim=0) for z in (z_a, z_b))
        cov_a, cov_b = ((z.T @ z) / (n - 1) for z in (z_a, z_b))
        cov_loss = sum(off_diagonal(c).pow(2).sum() / d for c in (cov_a, cov_b))
        loss = 25 * sim_loss + 25 * std_loss + cov_loss
        descend(optimizer, loss)
        losses.append(loss.item())
    return losses, {"encoder": f}


PSEUDO_CODE = {"vicreg": Case(make, algorithm_1)}
