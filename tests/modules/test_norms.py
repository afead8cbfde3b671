"""Batch norm over parts of a batch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from ssl_zoo.modules import MLP, SplitBatchNorm
from ssl_zoo.modules.norms import split_norms
from ssl_zoo.types import UserError

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("shape", [(12, 5), (12, 5, 3, 4)])
@pytest.mark.parametrize("num_splits", [1, 2, 3])
def test_split_norm_is_a_batch_norm_on_each_part(shape: tuple[int, ...], num_splits: int) -> None:
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    plain: Any = kind(5, momentum=0.3, eps=0.01)
    nn.init.uniform_(plain.weight)
    nn.init.uniform_(plain.bias)
    norm = SplitBatchNorm(copy.deepcopy(plain), num_splits)
    for step in range(1, 4):
        images = torch.randn(shape)
        parts, copies = [], [copy.deepcopy(plain) for _ in range(num_splits)]
        for one, part in zip(copies, images.split(12 // num_splits), strict=True):
            parts.append(one(part))
        torch.testing.assert_close(norm(images), torch.cat(parts))
        for name in ("running_mean", "running_var"):
            mean = torch.stack([getattr(one, name) for one in copies]).mean(dim=0)
            torch.testing.assert_close(getattr(norm, name), mean)
            getattr(plain, name).copy_(mean)  # where the next step's parts start
        assert norm.num_batches_tracked == step
    images = torch.randn(shape)
    assert torch.equal(norm.eval()(images), plain.eval()(images))


def test_split_norms_gradient() -> None:
    plain = nn.BatchNorm1d(5)
    nn.init.uniform_(plain.weight)
    norm = SplitBatchNorm(copy.deepcopy(plain), 2)
    images = torch.randn(12, 5)
    ours, theirs = images.clone().requires_grad_(), images.clone().requires_grad_()
    norm(ours).exp().sum().backward()
    torch.cat([plain(theirs[:6]), plain(theirs[6:])]).exp().sum().backward()
    pairs = zip([ours, *norm.parameters()], [theirs, plain.weight, plain.bias], strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("out_norm", ["affine", "scale", "plain"])
def test_split_norms_keeps_weights_and_names(out_norm: Any) -> None:
    head = MLP(16, 3, out_norm=out_norm)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), head)
    plain, parameters = copy.deepcopy(net), list(net.parameters())
    split_norms(net, 2)
    assert [type(m).__name__ for m in net.modules()].count("SplitBatchNorm") == 3
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d) for m in net.modules())
    assert [id(p) for p in net.parameters()] == [id(p) for p in parameters]  # as optimizers see it
    assert list(net.state_dict()) == list(plain.state_dict())
    images = torch.randn(8, 3, 2, 2)
    expected = torch.cat([copy.deepcopy(plain)(part) for part in images.split(4)])
    torch.testing.assert_close(net(images), expected)
    net.load_state_dict(plain.state_dict())
    assert torch.equal(net.eval()(images), plain.eval()(images))
    plain.load_state_dict(net.state_dict())


def test_split_norm_errors() -> None:
    norm = SplitBatchNorm(nn.BatchNorm1d(5), 4)
    with pytest.raises(UserError, match=r"num_splits=4 does not divide the 6 rows .* batch_size"):
        norm(torch.randn(6, 5))
    assert norm.eval()(torch.randn(6, 5)).shape == (6, 5)
