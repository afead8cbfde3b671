"""Ramps by hand, and bit for bit the formulas that each schedule had of its own before."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers.optim import vector
from helpers.paths import ROOT
from ssl_zoo.evaluation.linear import cosine
from ssl_zoo.modules import Momentum
from ssl_zoo.optim import cosine_by_epoch, multistep
from ssl_zoo.optim.schedules import cosine_factor
from ssl_zoo.protocols.detection.detector import Schedule
from ssl_zoo.protocols.linear_augmented import LinearAugmented
from ssl_zoo.ramps import half_cosine, steps_down, warm_up


def test_half_cosine_by_hand() -> None:
    assert [half_cosine(1.0, 0.0, k, 4) for k in range(5)] == pytest.approx(
        [1.0, 0.85355339059, 0.5, 0.14644660941, 0.0]
    )
    assert [half_cosine(0.04, 0.4, k / 2) for k in range(3)] == pytest.approx([0.04, 0.22, 0.4])


def test_warm_up_by_hand() -> None:
    assert [warm_up(k, 4) for k in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert [warm_up(k, 2, first=0.5) for k in range(4)] == [0.5, 0.75, 1.0, 1.0]
    assert [warm_up(k, 0) for k in range(2)] == [0.0, 1.0]


def test_steps_down_by_hand() -> None:
    assert [steps_down(k, [2, 3], gamma=0.5) for k in range(5)] == [1.0, 1.0, 0.5, 0.25, 0.25]
    assert steps_down(9, []) == 1.0


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([vector(1)], lr=1.0)


TOTALS = [(7, 0), (100, 10), (977, 41), (97657, 976)]  # steps of a run and of its warm-up
Pairs = list[tuple[float, float]]  # what it is, what it was


def rates(total: int, warm: int) -> Pairs:
    pairs = []
    for step in range(0, total + 3, max(1, total // 500)):
        for final in (0.0, 0.1, 1e-3):
            progress = min(1.0, (step - warm) / max(1, total - warm))
            was = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
            pairs.append((cosine_factor(step, total, warm, final), was))
            if step < warm:
                pairs[-1] = (pairs[-1][0], step / warm)
    return pairs


def rates_by_epoch(total: int, warm: int) -> Pairs:
    pairs = []
    for epochs, first in ((100, 0), (200, 1), (7, 0)):
        factor = cosine_by_epoch(sgd(), total, epochs, first).lr_lambdas[0]
        for step in range(0, total, max(1, total // 500)):
            epoch = min(epochs, step * epochs // total + first)
            pairs.append((factor(step), 0.5 * (1 + math.cos(math.pi * epoch / epochs))))
    return pairs


def rates_by_milestones(total: int, warm: int) -> Pairs:
    pairs = []
    for gamma in (0.1, 0.2, 0.5):
        factor = multistep(sgd(), total, [3, 5.5, 6], epochs=7, gamma=gamma).lr_lambdas[0]
        steps = [round(total * milestone / 7) for milestone in (3, 5.5, 6)]
        for step in range(0, total, max(1, total // 500)):
            pairs.append((factor(step), gamma ** sum(step >= s for s in steps)))
    return pairs


def momenta(total: int, warm: int) -> Pairs:
    pairs = []
    for first, last in ((0.99, 1.0), (0.996, 1.0), (0.9, 0.5), (0.0, 1.0), (1.0, 0.999)):
        target = Momentum(nn.Identity(), first, last)
        for step in range(0, total, max(1, total // 500)):
            was = last - (last - first) * (math.cos(math.pi * (step / total)) + 1) / 2
            pairs.append((target.momentum_at(step / total), was))
    return pairs


def rates_of_linear_heads(total: int, warm: int) -> Pairs:
    steps = range(0, total, max(1, total // 500))
    return [(cosine(k, total), 0.5 * (1 + math.cos(math.pi * k / total))) for k in steps]


def augmented(epochs: int, schedule: str | list[int]) -> LinearAugmented:
    return LinearAugmented(
        learning_rates=[0.1],
        weight_decays=[0.0],
        epochs=epochs,
        batch_size=8,
        optimizer="sgd",
        schedule=schedule,
        standardize=True,
        head_std=0.01,
        crop_scale=(0.5, 1.0),
    )


def rates_of_augmented_heads(total: int, warm: int) -> Pairs:
    pairs = []
    for epochs in (7, 100):
        falling = augmented(epochs, [3, 5])
        by_epoch, by_step = augmented(epochs, "cosine_by_epoch"), augmented(epochs, "cosine")
        for step in range(epochs * 3):
            epoch = step // 3
            pairs.append((falling._factor(step, 3), 0.1 ** sum(epoch >= m for m in (3, 5))))
            was = 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            pairs.append((by_epoch._factor(step, 3), was))
            was = 0.5 * (1 + math.cos(math.pi * step / (epochs * 3)))
            pairs.append((by_step._factor(step, 3), was))
    return pairs


def rates_of_detectors(total: int, warm: int) -> Pairs:
    pairs = []
    for decay_at in ((0.75, 8 / 9), (2 / 3,), ()):
        schedule = Schedule(total, 0.02, 0.9, 1e-4, warm, decay_at)
        for step in range(0, total, max(1, total // 500)):
            decays = sum(step >= int(part * total) for part in decay_at)
            warmup = min(1.0, 0.001 + 0.999 * step / max(1, warm))
            pairs.append((schedule.factor(step), warmup * 0.1**decays))
    return pairs


@pytest.mark.parametrize(("total", "warm"), TOTALS)
@pytest.mark.parametrize(
    "pairs",
    [
        *(rates, rates_by_epoch, rates_by_milestones, momenta),
        *(rates_of_linear_heads, rates_of_augmented_heads, rates_of_detectors),
    ],
)
def test_the_bits_are_those_of_before(
    pairs: Callable[[int, int], Pairs], total: int, warm: int
) -> None:
    found = pairs(total, warm)
    assert [is_now for is_now, _ in found] == [was for _, was in found]  # to the last bit
    assert len({is_now for is_now, _ in found}) > 2


def test_ramps_are_free_of_torch() -> None:
    """In a process of its own, since this one has torch."""
    code = "import ssl_zoo.ramps, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
