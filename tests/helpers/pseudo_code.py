"""What the papers' pseudo-code is compared on: a network, batches, a training loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssl_zoo.methods import Method
from ssl_zoo.modules import MLP
from ssl_zoo.types import MultiViewBatch

STEPS, LR, BATCH = 5, 0.1, 8


# The losses of a loop, and what is left, by its name in the method.
Trained = tuple[list[float], dict[str, nn.Module | Tensor]]


class Case(NamedTuple):
    """A method, and its paper's loop in plain PyTorch.

    The loop is handed the method before its first step and trains copies of its networks. `data`
    is what both train on.
    """

    make: Callable[[], Method]
    loop: Callable[[Method], Trained]
    data: Callable[[], list[MultiViewBatch]] | None = None


class Net(nn.Sequential):
    """A small network with a batch norm, (N, 3, 6, 6) -> (N, 5)."""

    num_features = 5

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten())
        self.append(nn.Linear(20, 5))


def batches() -> list[MultiViewBatch]:
    generator = torch.Generator().manual_seed(1)

    def images() -> Tensor:
        return torch.randn(BATCH, 3, 6, 6, generator=generator)

    index = torch.arange(BATCH)
    return [MultiViewBatch([images(), images()], index, index) for _ in range(STEPS)]


def crops() -> list[MultiViewBatch]:
    """As `batches`, with two small views after the two large ones."""
    generator = torch.Generator().manual_seed(2)
    batch = []
    for large in batches():
        small = [torch.randn(BATCH, 3, 4, 4, generator=generator) for _ in range(2)]
        batch.append(large._replace(views=[*large.views, *small]))
    return batch


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train_ours(method: Method, data: list[MultiViewBatch] | None = None) -> list[float]:
    optimizer = torch.optim.SGD(method.param_groups(), lr=LR, momentum=0.9)
    losses = []
    for k, batch in enumerate(data or batches()):
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        method.before_step(progress=k / STEPS)
        optimizer.step()
        method.update(progress=k / STEPS)
        losses.append(loss.item())
    return losses


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


def plain(method: Method) -> nn.Sequential:
    """Net and a linear layer, that start where the method's encoder starts."""
    twin = nn.Sequential(Net(), nn.Linear(5, 4))
    for p, q in zip(twin.parameters(), method.encoder.parameters(), strict=True):
        p.data.copy_(q)
    return twin


def predictive(
    method_class: Callable[..., Method],
    target: Callable[..., nn.Module],
    loss: nn.Module,
    **shared: Any,
) -> Method:
    projector = partial(MLP, out_dim=4, hidden_dim=6)
    return method_class(Net(), projector, partial(MLP, hidden_dim=3), target, loss, **shared)
