"""What is decayed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from ssl_zoo.optim import LARS, build_optimizer
from ssl_zoo.optim.param_groups import split_decay
from ssl_zoo.types import BadValue


def small_net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2)
    )
    for p in net.parameters():
        nn.init.uniform_(p, 0.5, 1.0)
    return net


def method_groups(net: nn.Sequential) -> list[dict[str, Any]]:
    """Two groups, as a method with a predictor has; one parameter is frozen."""
    net[3].bias.requires_grad_(False)
    encoder = [*net[0].parameters(), *net[1].parameters()]
    predictor = [*net[3].parameters(), *net[4].parameters()]
    return [
        {"name": "encoder", "params": encoder, "constant_lr": False},
        {"name": "predictor", "params": predictor, "constant_lr": True},
    ]


def test_split_decay() -> None:
    net = small_net()
    groups = split_decay(method_groups(net), 0.1)
    expected = [
        ("encoder", False, 0.1, True, [net[0].weight]),
        ("encoder_no_decay", False, 0.0, False, [net[0].bias, net[1].weight, net[1].bias]),
        ("predictor", True, 0.1, True, [net[3].weight]),
        ("predictor_no_decay", True, 0.0, False, [net[4].weight, net[4].bias]),
    ]
    assert len(groups) == len(expected)
    for group, (name, constant_lr, decay, adapt, params) in zip(groups, expected, strict=True):
        assert group["name"] == name
        assert group["constant_lr"] is constant_lr
        assert group["weight_decay"] == decay
        assert group["adapt"] is adapt
        assert [id(p) for p in group["params"]] == [id(p) for p in params]


def test_empty_groups_are_left_out() -> None:
    only_matrix = [{"name": "all", "params": [nn.Parameter(torch.ones(2, 2))]}]
    assert [g["name"] for g in split_decay(only_matrix, 0.1)] == ["all"]
    only_bias = [{"name": "all", "params": [nn.Parameter(torch.ones(2))]}]
    assert [g["name"] for g in split_decay(only_bias, 0.1)] == ["all_no_decay"]


FACTORIES = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adamw": partial(torch.optim.AdamW, lr=0.1),
    "lars": partial(LARS, lr=0.1),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_adapt_is_for_lars_alone(name: str) -> None:
    optimizer = build_optimizer(method_groups(small_net()), FACTORIES[name], 0.1)
    adapt = [group.get("adapt") for group in optimizer.param_groups]
    assert adapt == ([True, False, True, False] if name == "lars" else [None] * 4)
    assert [g["constant_lr"] for g in optimizer.param_groups] == [False, False, True, True]


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize(("name", "shrink"), [("sgd", 0.05), ("adamw", 0.05), ("lars", 1e-4)])
def test_decay_alone_shrinks_matrices_alone(name: str, shrink: float, exclude: bool) -> None:
    net = small_net()
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    groups = [{"name": "all", "params": list(net.parameters()), "constant_lr": False}]
    optimizer = build_optimizer(groups, FACTORIES[name], 0.5, exclude_bias_and_norm=exclude)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for key, p in net.named_parameters():
        # lr * decay, and lr * trust coefficient for LARS, whose ratio cancels the decay
        factor = 1 - shrink if p.ndim > 1 or not exclude else 1.0
        torch.testing.assert_close(p.detach(), before[key] * factor)
        assert torch.equal(p.detach(), before[key]) == (factor == 1)


def test_everything_decayed() -> None:
    groups = method_groups(small_net())
    optimizer = build_optimizer(groups, FACTORIES["lars"], 0.5, exclude_bias_and_norm=False)
    assert [g["name"] for g in optimizer.param_groups] == ["encoder", "predictor"]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.5]
    assert all(g["adapt"] for g in optimizer.param_groups)


@pytest.mark.parametrize("exclude", [True, False])
def test_biases_and_norms_at_a_rate_of_their_own(exclude: bool) -> None:
    """Below a method's own multiplier, whether or not they are decayed."""
    groups = method_groups(small_net())
    groups[1]["lr_multiplier"] = 2.0
    build = partial(build_optimizer, groups, FACTORIES["lars"], 0.5, exclude)
    optimizer = build(bias_and_norm_lr_multiplier=0.024)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.1, 0.0024, 0.2, 0.0048])
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.5 * (not exclude)] * 2
    assert [g["adapt"] for g in optimizer.param_groups] == [True, not exclude] * 2
    assert len({group["name"] for group in optimizer.param_groups}) == 4


def test_a_rate_below_0_is_refused() -> None:
    with pytest.raises(BadValue, match=r"bias_and_norm_lr_multiplier=-1: must be at least 0"):
        build_optimizer([], FACTORIES["sgd"], bias_and_norm_lr_multiplier=-1)
