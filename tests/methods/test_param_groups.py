"""The target is not trained."""

from __future__ import annotations

from functools import partial

import pytest

from helpers.pseudo_code import Net, predictive
from ssl_zoo.losses import InfoNCE, NormalizedMSE
from ssl_zoo.methods import BYOL, MoCo
from ssl_zoo.modules import Linear, Momentum, Queue

pytestmark = pytest.mark.usefixtures("double")


def test_the_target_is_not_in_the_optimizer() -> None:
    for method in (
        predictive(BYOL, Momentum, NormalizedMSE()),
        MoCo(Net(), partial(Linear, out_dim=4), Momentum, partial(Queue, size=9), InfoNCE()),
    ):
        optimized = {id(p) for group in method.param_groups() for p in group["params"]}
        assert not optimized & {id(p) for p in method.target.parameters()}
        assert optimized >= {id(p) for p in method.encoder.parameters()}
