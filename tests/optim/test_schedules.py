"""Schedules by hand."""

from __future__ import annotations

import io
import logging
import math
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from helpers.optim import vector
from ssl_zoo.optim import (
    build_optimizer,
    constant,
    cosine_by_epoch,
    multistep,
    warmup_cosine,
)
from ssl_zoo.optim.schedules import cosine_factor
from ssl_zoo.types import BadValue, UserError


def rates(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """The groups' rates at each step."""
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def two_groups() -> torch.optim.Optimizer:
    groups = [
        {"params": [vector(1)], "lr": 0.3},
        {"params": [vector(1)], "lr": 0.7, "constant_lr": True},
    ]
    return torch.optim.SGD(groups, lr=1.0)


def closed_form(step: int, total: int, warm: int, final: float = 0.0) -> float:
    if step < warm:
        return step / warm
    angle = math.pi * (step - warm) / (total - warm)
    return final + (1 - final) * (1 + math.cos(angle)) / 2


def test_cosine_factor() -> None:
    for total, warm, final in ((100, 10, 0.0), (97657, 976, 0.0), (40, 0, 0.1), (7, 7, 0.0)):
        for step in {0, 1, warm - 1, warm, warm + 1, total // 2, total - 1} - {-1, total}:
            expected = closed_form(step, total, warm, final) if step < total else final
            assert cosine_factor(step, total, warm, final) == pytest.approx(expected, abs=1e-14)
        if warm < total:
            assert cosine_factor(warm, total, warm, final) == 1
            for late in (total, total + 5):
                assert cosine_factor(late, total, warm, final) == pytest.approx(final, abs=1e-15)


def test_cosine_by_hand() -> None:
    by_hand = [0.05, 0.04267766953, 0.025, 0.00732233047]
    assert [0.05 * cosine_factor(e, 4, 0) for e in range(4)] == pytest.approx(by_hand)
    from_one = [0.05121320344, 0.03, 0.008786796564, 0.0]
    assert [0.06 * cosine_factor(e, 4, 0) for e in range(1, 5)] == pytest.approx(from_one)


@pytest.mark.parametrize(
    ("total", "epochs", "warmup_epochs", "warm"),
    [
        (97657, 1000, 10, 976),  # SimCLR's code: CIFAR-10 at batch 512
        (31279, 100, 10, 3127),  # ImageNet at batch 4096
        (840, 12, 0.05 * 12, 42),
        (700, 7, 0.05 * 7, 35),
        (300, 3, 0.0, 0),
        (30, 3, 3.0, 30),
    ],
)
def test_warmup_steps(total: int, epochs: float, warmup_epochs: float, warm: int) -> None:
    optimizer = two_groups()
    scheduler = warmup_cosine(optimizer, total, warmup_epochs, epochs)
    factor = scheduler.lr_lambdas[0]
    for step in (0, 1, warm // 2, max(0, warm - 1), warm, total - 1):
        if step < total:
            expected = closed_form(step, total, warm) if warm < total else step / warm
            assert factor(step) == pytest.approx(expected, abs=1e-12)


def test_warmup_cosine_by_step_and_constant_groups() -> None:
    optimizer = two_groups()
    scheduler = warmup_cosine(optimizer, total_steps=40, warmup_epochs=2, epochs=8, final=0.01)
    seen = rates(optimizer, scheduler, 41)
    expected = [0.3 * closed_form(step, 40, 10, 0.01) for step in range(41)]
    assert [lr for lr, _ in seen] == pytest.approx(expected, rel=1e-12)
    assert seen[0][0] == 0
    assert seen[40][0] == pytest.approx(0.003)
    assert {lr for _, lr in seen} == {0.7}


def test_warmup_longer_than_the_run() -> None:
    with pytest.raises(UserError, match=r"^warmup_epochs=10: must be at most epochs=5$"):
        warmup_cosine(two_groups(), 100, warmup_epochs=10, epochs=5)


@pytest.mark.parametrize(
    ("base_lr", "first_epoch", "golden"),
    [
        (0.05, 0, [0.05, 0.04267766953, 0.025, 0.00732233047]),  # SimSiam's code
        (0.06, 1, [0.05121320344, 0.03, 0.008786796564, 0.0]),  # MoCo's notebook
    ],
)
def test_cosine_by_epoch(base_lr: float, first_epoch: int, golden: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base_lr)
    scheduler = cosine_by_epoch(optimizer, total_steps=12, epochs=4, first_epoch=first_epoch)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([lr for lr in golden for _ in range(3)], abs=1e-10)


def test_multistep() -> None:
    optimizer = two_groups()
    scheduler = multistep(optimizer, total_steps=600, milestones=[120, 160], epochs=200)
    seen = rates(optimizer, scheduler, 600)
    expected = [0.3] * 360 + [0.03] * 120 + [0.003] * 120
    assert [lr for lr, _ in seen] == pytest.approx(expected, rel=1e-12)
    assert {lr for _, lr in seen} == {0.7}


@pytest.mark.parametrize(("milestones", "typed"), [(3, "3"), (["foo"], "[foo]")])
def test_milestones_that_are_no_epochs(milestones: Any, typed: str) -> None:
    line = f"milestones={typed}: must be a list of epochs, as in [120,160]"
    with pytest.raises(BadValue, match=f"^{re.escape(line)}$"):
        multistep(two_groups(), 100, milestones)


# --- weight decay ---------------------------------------------------------------------------------


def decaying() -> torch.optim.Optimizer:
    """Two groups of which the first one's decay rises from 0.04 to 0.4, and its biases' is 0."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(3, 2, generator=generator).requires_grad_() for _ in range(2))
    bias = torch.randn(2, generator=generator).requires_grad_()
    groups = [
        {"name": "a", "params": [first, bias], "final_weight_decay": 0.4},
        {"name": "b", "params": [second]},
    ]
    return build_optimizer(groups, partial(torch.optim.AdamW, lr=0.1), weight_decay=0.04)


def decays(optimizer: torch.optim.Optimizer, scheduler: Any, steps: range) -> list[list[float]]:
    """The groups' decays at each step, each step with the gradients of its number."""
    seen = []
    for step in steps:
        seen.append([group["weight_decay"] for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.full_like(p, math.sin(step))
        optimizer.step()
        scheduler.step()
    return seen


SCHEDULES = [
    constant,
    partial(warmup_cosine, warmup_epochs=1, epochs=4),
    partial(cosine_by_epoch, epochs=4),
    partial(multistep, milestones=[2], epochs=4),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_group_names_where_its_decay_goes(schedule: Any) -> None:
    optimizer = decaying()
    assert [group["name"] for group in optimizer.param_groups] == ["a", "a_no_decay", "b"]
    scheduler = schedule(optimizer, 8)
    seen = decays(optimizer, scheduler, range(10))
    done = [min(step, 8) / 8 for step in range(10)]
    expected = [0.4 - 0.36 * (1 + math.cos(math.pi * part)) / 2 for part in done]
    assert [a for a, _, _ in seen] == pytest.approx(expected, rel=1e-12)
    assert [(no_decay, b) for _, no_decay, b in seen] == [(0.0, 0.04)] * 10
    plain = torch.optim.SGD([vector(1)], lr=0.1)
    rates_of = [s.lr_lambdas[0] for s in (scheduler, schedule(plain, 8))]
    assert [rates_of[0](step) for step in range(8)] == [rates_of[1](step) for step in range(8)]


def test_a_moving_decay_is_saved_and_goes_on() -> None:
    whole = decaying()
    expected = decays(whole, constant(whole, 8), range(8))
    first = decaying()
    scheduler = constant(first, 8)
    assert decays(first, scheduler, range(3)) == expected[:3]
    file = io.BytesIO()
    torch.save([first.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = decaying()
    again = constant(second, 8)
    for ours, theirs in zip(parameters(second), parameters(first), strict=True):
        ours.data.copy_(theirs)
    second.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    assert decays(second, again, range(3, 8)) == expected[3:]
    for ours, theirs in zip(parameters(second), parameters(whole), strict=True):
        assert torch.equal(ours, theirs)


def parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def test_constant() -> None:
    optimizer = two_groups()
    assert rates(optimizer, constant(optimizer, 3), 5) == [[0.3, 0.7]] * 5


@pytest.mark.parametrize(
    ("milestones", "epochs", "late"),
    [([120, 160], 200, None), ([120, 160], 130, "160"), ([2, 4.5], 4.5, "4.5"), ([9], 5, "9")],
)
def test_milestones_beyond_the_last_epoch_are_said(
    caplog: pytest.LogCaptureFixture, milestones: list[float], epochs: float, late: str | None
) -> None:
    optimizer = torch.optim.SGD([vector(1.0)], lr=1.0)
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        multistep(optimizer, total_steps=100, milestones=milestones, epochs=epochs)
    said = f"milestones beyond the last epoch ({epochs:g}): {late}: the learning rate does not"
    assert [line.startswith(said) for line in caplog.messages] == ([] if late is None else [True])
