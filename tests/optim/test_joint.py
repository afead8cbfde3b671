"""A loss with an optimizer of its own."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from helpers.runs import assert_equal
from ssl_zoo.optim import (
    JointOptimizer,
    build_joint_optimizer,
    build_optimizer,
    constant,
    warmup_cosine,
)


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.bias = nn.Parameter(torch.randn(3, generator=generator))
        self.proxies = nn.Parameter(torch.randn(3, 3, generator=generator))

    def groups(self) -> list[dict[str, Any]]:
        body = {"name": "body", "params": [self.body, self.bias], "lr_multiplier": 0.1}
        return [
            body | {"constant_lr": False},
            {"name": "loss", "params": [self.proxies], "constant_lr": True},
        ]

    def value(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 4, generator=generator)
        return softplus((x @ self.body + self.bias) @ self.proxies.T).mean()


BODY = partial(build_optimizer, optimizer=partial(torch.optim.AdamW, lr=0.2), weight_decay=0.1)

LOSS = partial(torch.optim.RMSprop, lr=0.05, momentum=0.9)


def joint(parts: TwoParts) -> Any:
    return build_joint_optimizer(parts.groups(), BODY, LOSS)


def run(parts: TwoParts, optimizers: list[Any], steps: range) -> None:
    for step in steps:
        for optimizer in optimizers:
            optimizer.zero_grad()
        parts.value(step).backward()
        for optimizer in optimizers:
            optimizer.step()


def test_joint_steps_equal_those_of_two_optimizers() -> None:
    ours, theirs = TwoParts(), TwoParts()
    run(ours, [joint(ours)], range(5))
    separate = [  # decay on the matrix alone, a tenth of the rate
        torch.optim.AdamW(
            [
                {"params": [theirs.body], "weight_decay": 0.1},
                {"params": [theirs.bias], "weight_decay": 0.0},
            ],
            lr=0.02,
        ),
        torch.optim.RMSprop([theirs.proxies], lr=0.05, momentum=0.9),
    ]
    run(theirs, separate, range(5))
    assert_equal(ours.state_dict(), theirs.state_dict(), "weights")
    assert not torch.equal(ours.proxies, TwoParts().proxies)


def test_joint_state_is_saved_whole() -> None:
    whole, first = TwoParts(), TwoParts()
    run(whole, [joint(whole)], range(6))
    optimizer = joint(first)
    run(first, [optimizer], range(3))
    second = TwoParts()
    second.load_state_dict(first.state_dict())
    resumed = joint(second)
    resumed.load_state_dict(optimizer.state_dict())
    run(second, [resumed], range(3, 6))
    assert_equal(second.state_dict(), whole.state_dict(), "weights")
    assert len(resumed.state) == 3


def test_the_schedule_moves_the_encoder_alone() -> None:
    parts = TwoParts()
    optimizer = joint(parts)
    scheduler = warmup_cosine(optimizer, total_steps=4, warmup_epochs=0, epochs=1)
    rates = []
    for step in range(4):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        run(parts, [optimizer], range(step, step + 1))
        scheduler.step()
    assert list(rates[0]) == ["body", "body_no_decay", "loss"]
    assert [r["body"] for r in rates] == pytest.approx(
        [0.02 * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    )
    assert [r["loss"] for r in rates] == [0.05] * 4
    assert [part.param_groups[0]["lr"] for part in optimizer.optimizers] == [0.0, 0.05]


def test_a_loss_without_parameters_needs_no_second_optimizer() -> None:
    parts = TwoParts()
    plain = build_joint_optimizer(parts.groups()[:1], BODY, LOSS)
    assert isinstance(plain, torch.optim.AdamW)
    assert isinstance(joint(parts), JointOptimizer)
    assert constant(plain, total_steps=3)
