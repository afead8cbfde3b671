"""Heads against their formulas, and as the configs build them against the papers' sizes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from helpers.configs import Make
from ssl_zoo.backbones import ConvNet
from ssl_zoo.losses import NegativeCosine
from ssl_zoo.methods import SimSiam
from ssl_zoo.modules import MLP, Frozen, Identity, Linear, StopGradient
from ssl_zoo.types import UserError

WIDTH = 2048  # of ResNet-50's representation


def count(module: nn.Module, trainable: bool = True) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad is trainable)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layout(head: nn.Module) -> list[str]:
    names = {nn.Linear: "linear", nn.BatchNorm1d: "norm", nn.ReLU: "relu"}
    return [names[type(m)] + ("+b" if getattr(m, "bias", None) is not None else "") for m in head]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "linear norm+b relu linear+b"),
        ({"num_layers": 1}, "linear+b"),
        ({"num_layers": 3}, "linear norm+b relu linear norm+b relu linear+b"),
        ({"hidden_norm": False}, "linear+b relu linear+b"),
        ({"out_norm": "affine"}, "linear norm+b relu linear norm+b"),
        ({"out_norm": "scale"}, "linear norm+b relu linear norm"),
        ({"out_norm": "plain"}, "linear norm+b relu linear norm"),
        ({"out_bias": False}, "linear norm+b relu linear"),
        ({"out_norm": "plain", "out_bias": True}, "linear norm+b relu linear+b norm"),
        ({"num_layers": 1, "out_norm": "scale"}, "linear norm"),
    ],
)
def test_mlp_layout(options: dict[str, Any], expected: str) -> None:
    head = MLP(6, 3, hidden_dim=5, **options)
    assert layout(head) == expected.split()
    linears = [m for m in head if isinstance(m, nn.Linear)]
    widths = [6, *[5] * (len(linears) - 1), 3]
    assert [m.in_features for m in linears] == widths[:-1]
    assert [m.out_features for m in linears] == widths[1:]
    assert head(noise(4, 6)).shape == (4, 3)
    assert head.out_dim == 3


@pytest.mark.parametrize(("kind", "extra"), [("affine", 6), ("scale", 3), ("plain", 0)])
def test_out_norm(kind: Any, extra: int) -> None:
    head = MLP(6, 3, out_norm=kind, out_bias=False)
    assert count(head) - count(MLP(6, 3, out_bias=False)) == extra
    z = head(noise(64, 6))
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(dim=0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    if kind == "scale":
        norm: Any = head[-1]
        nn.init.constant_(norm.weight, 2.0)
        torch.testing.assert_close(head(noise(64, 6)), 2 * z)


def test_mlp_equals_formula() -> None:
    head: Any = MLP(6, 3, hidden_dim=5).double()
    x = noise(8, 6).double()
    hidden = x @ head[0].weight.T
    hidden = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, correction=0) + 1e-5).sqrt()
    expected = hidden.relu() @ head[3].weight.T + head[3].bias
    torch.testing.assert_close(head(x), expected)


def test_hidden_width_follows_the_input() -> None:
    head: Any = MLP(7, 3)
    assert head[0].out_features == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_norm": "afine"}, "^out_norm=afine: must be one of none, affine, scale, plain$"),
        ({"num_layers": 0}, "^num_layers=0: must be a whole number of at least 1$"),
    ],
)
def test_mlp_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MLP(6, 3, **options)


def test_linear_and_identity() -> None:
    linear, identity = Linear(6, 3), Identity(in_dim=6, out_dim=128)
    x = noise(4, 6)
    torch.testing.assert_close(linear(x), x @ linear.weight.T + linear.bias)
    assert (linear.out_dim, identity.out_dim) == (3, 6)
    assert identity(x) is x
    assert count(identity) == 0


# --- frozen heads -------------------------------------------------------------------------------


def test_frozen_is_the_head_as_it_was_drawn() -> None:
    torch.manual_seed(0)
    frozen = Frozen(partial(MLP, hidden_dim=5), in_dim=6, out_dim=3)
    torch.manual_seed(0)
    head = MLP(6, 3, hidden_dim=5)
    assert torch.equal(frozen(noise(8, 6)), head(noise(8, 6)))
    assert frozen.out_dim == 3
    assert (count(frozen), count(frozen, trainable=False)) == (0, count(head))


def test_frozen_lets_the_gradient_through() -> None:
    x = noise(8, 6).requires_grad_()
    Frozen(partial(MLP, out_dim=3), in_dim=6)(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().min() > 0


def test_a_frozen_predictor_leaves_no_empty_group() -> None:
    names = []
    for predictor in (MLP, partial(Frozen, MLP), Identity):
        projector = partial(MLP, out_dim=4)
        backbone = ConvNet(widths=(4,), strides=(2,))
        method = SimSiam(backbone, projector, predictor, StopGradient, NegativeCosine())
        groups = method.param_groups()
        assert all(p.requires_grad for group in groups for p in group["params"])
        torch.optim.SGD(groups, lr=0.1)  # refuses what is in two groups
        names.append([group["name"] for group in groups])
    assert names == [["encoder", "predictor"], ["encoder"], ["encoder"]]


# --- the published heads ------------------------------------------------------------------------


def configured(make: Make, overrides: str, slot: str) -> Any:
    """A head as the config of a method builds it on ResNet-50, without memory or work."""
    method = make(*overrides.split()).method
    dims = {"in_dim": WIDTH}
    if slot == "predictor":
        dims = {"in_dim": method.embed_dim, "out_dim": method.embed_dim}
    with torch.device("meta"):
        head = instantiate(method[slot])(**dims)
    assert head.out_dim == method.embed_dim
    return head


@pytest.mark.parametrize(
    ("overrides", "slot", "parameters"),
    [
        ("method=instdisc", "projector", 262_272),
        ("method=moco", "projector", 262_272),
        ("method=moco method/projector=mocov2", "projector", 4_458_624),
        ("method=simsiam", "projector", 12_591_104),
        ("method=simsiam", "predictor", 2_100_224),
        ("method=simsiam method/predictor=frozen", "predictor", 0),
        ("method=byol", "projector", 9_449_472),
        ("method=byol", "predictor", 2_109_440),
        # 2048 x 2048 and 2048 x 128 weights; a scale and an offset, and a scale
        ("method=simclr method/projector=simclr", "projector", 4_460_672),
    ],
)
def test_published_sizes(make_config: Make, overrides: str, slot: str, parameters: int) -> None:
    assert count(configured(make_config, overrides, slot)) == parameters


@pytest.mark.parametrize(
    ("overrides", "slot", "expected"),
    [
        ("method=moco method/projector=mocov2", "projector", "linear+b relu linear+b"),
        ("method=simsiam", "projector", "linear norm+b relu linear norm+b relu linear norm"),
        ("method=simsiam", "predictor", "linear norm+b relu linear+b"),
        ("method=byol", "projector", "linear+b norm+b relu linear"),
        ("method=byol", "predictor", "linear+b norm+b relu linear"),
        ("method=simclr method/projector=simclr", "projector", "linear norm+b relu linear norm"),
    ],
)
def test_published_layout(make_config: Make, overrides: str, slot: str, expected: str) -> None:
    assert layout(configured(make_config, overrides, slot)) == expected.split()


def test_simsiams_last_norm_has_neither_weight_nor_bias(make_config: Make) -> None:
    norm = configured(make_config, "method=simsiam", "projector")[-1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert (norm.weight, norm.bias) == (None, None)


def test_simclrs_last_norm_has_a_weight_alone(make_config: Make) -> None:
    overrides = "method=simclr method/projector=simclr"
    *_, linear, norm = configured(make_config, overrides, "projector")
    assert isinstance(norm, nn.BatchNorm1d)
    assert linear.bias is None
    assert norm.weight.shape == (128,)
    assert norm.bias is None
