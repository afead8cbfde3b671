"""Learning rates by batch size, and the group of a sweep."""

from __future__ import annotations

import pytest

from helpers.configs import Make
from ssl_zoo.config import scaled_lr, sweep_group, to_plain
from ssl_zoo.types import UserError


@pytest.mark.parametrize(
    ("rule", "batch_size", "expected"),
    [("none", 1024, 0.3), ("linear", 1024, 1.2), ("sqrt", 1024, 0.6), ("linear", 64, 0.075)],
)
def test_scaled_lr(rule: str, batch_size: int, expected: float) -> None:
    assert scaled_lr(0.3, rule, batch_size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("base_lr", "rule", "batch_size", "published"),
    [
        (0.05, "linear", 512, 0.1),  # SimSiam
        (0.3, "linear", 256, 0.3),  # SimCLR
        (0.3, "linear", 4096, 4.8),
        (1.2, "sqrt", 4096, 4.8),  # 0.075 times the root of the batch
        (1.2, "sqrt", 256, 1.2),
        (0.1, "linear", 4096, 1.6),  # its linear evaluation
    ],
)
def test_published_rates(base_lr: float, rule: str, batch_size: int, published: float) -> None:
    assert scaled_lr(base_lr, rule, batch_size) == pytest.approx(published, rel=1e-12)


def test_scaled_lr_of_an_unknown_rule() -> None:
    with pytest.raises(UserError, match=r"lr_rule=cubic.*none, linear, sqrt"):
        scaled_lr(0.3, "cubic", 256)


def test_the_rate_in_the_config(make_config: Make) -> None:
    overrides = ["optimizer=sgd", "optimizer.base_lr=0.1", "batch_size=512"]
    optimizer = to_plain(make_config(*overrides))["optimizer"]
    assert optimizer["lr"] == pytest.approx(0.2)
    assert optimizer["module"]["optimizer"]["lr"] == optimizer["lr"]
    swept = to_plain(make_config(*overrides, "optimizer.lr=7"))["optimizer"]
    assert swept["module"]["optimizer"]["lr"] == 7


def test_no_sweep_no_group(make_config: Make) -> None:
    assert sweep_group() is None
    assert to_plain(make_config("logger=wandb"))["logger"]["wandb"]["group"] is None
