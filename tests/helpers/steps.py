"""Training methods step by step, in one process and in two.

The network has no batch norm, so that nothing depends on which images share a process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_zoo import distributed
from ssl_zoo.losses import InfoNCE, NTLogistic
from ssl_zoo.methods import Method
from ssl_zoo.modules import MLP, Momentum, Queue
from ssl_zoo.types import MultiViewBatch

STEPS, IMAGES, TRAIN_IMAGES, CLASSES = 5, 8, 13, 3


class NormFree(nn.Sequential):
    """Convolutions without batch norm, and the mean over positions."""

    def __init__(self, widths: list[int], strides: list[int]) -> None:
        layers: list[nn.Module] = []
        for a, b, stride in zip([3, *widths[:-1]], widths, strides, strict=True):
            layers += [nn.Conv2d(a, b, 3, stride, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.num_features = widths[-1]


class Normed(nn.Sequential):
    """A convolution with batch norm, and the mean over positions."""

    num_features = 6

    def __init__(self) -> None:
        layers = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


# --- parts of the methods ---

HEAD = partial(MLP, out_dim=5, hidden_norm=False)
PREDICTOR = partial(MLP, hidden_dim=7, hidden_norm=False)
EMA = partial(Momentum, momentum=0.8)
QUEUED = partial(Queue, size=20)  # no multiple of a step's 8 keys, nor of 16
INFO_NCE = partial(InfoNCE, 0.2)
SUBSAMPLED = partial(NTLogistic, 0.5, "subsample", num_subsampled=2)


def net() -> nn.Module:
    return NormFree([8, 8], [2, 1])


# --- optimizer steps ---


class LossOf(nn.Module):
    """What DDP wraps: the loss of a method's step."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: MultiViewBatch) -> Tensor:
        return self.method.step(batch).loss


def make_batch(step: int, num_views: int, small: int = 0) -> MultiViewBatch:
    """The global batch; in odd steps some images are there twice, within and across the halves.

    `small` views of a smaller size follow.
    """
    generator = torch.Generator().manual_seed(step)
    colour = 3 * torch.randn(2, IMAGES, 3, 1, 1, generator=generator, dtype=torch.float64)
    views = colour + torch.randn(2, IMAGES, 3, 6, 6, generator=generator, dtype=torch.float64)
    index = torch.arange(IMAGES) if step % 2 == 0 else torch.tensor([0, 1, 1, 2, 3, 0, 5, 2])
    label = index % CLASSES  # the supervised method reads it
    crops = [views[i % 2, :, :, i : i + 4, :4] for i in range(small)]
    return MultiViewBatch([*views[:num_views], *crops], label, index + step)


def batch_of(case: str, method: Method, step: int) -> MultiViewBatch:
    """The global batch that a case takes; small views too, if it is named `..._multi_crop`."""
    small = 2 if case.endswith("multi_crop") else 0
    return make_batch(step, 1 if method.takes_views(1) else 2, small)


def part_of(batch: MultiViewBatch, part: int, num_parts: int) -> MultiViewBatch:
    def cut(x: Tensor) -> Tensor:
        return x.chunk(num_parts)[part]

    return MultiViewBatch([cut(view) for view in batch.views], cut(batch.label), cut(batch.index))


class Steps(NamedTuple):
    """Of each micro-batch the loss, of each optimizer step the gradients, and what is left."""

    losses: list[float]
    gradients: list[dict[str, Tensor]]
    state: dict[str, Tensor]


def run_steps(case: str, make: Callable[[], Method], accumulate: int) -> Steps:
    """Optimizer steps on this process's part of each micro-batch, as Lightning takes them."""
    rank, world_size = distributed.rank(), distributed.world_size()
    torch.manual_seed(0)
    method = make().double()
    model: Any = LossOf(method)
    if world_size > 1:
        model = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(method.param_groups(), lr=0.05, momentum=0.9)
    losses, gradients = [], []
    for step in range(STEPS):
        batch = batch_of(case, method, step)
        optimizer.zero_grad()
        for j in range(accumulate):
            averaged = world_size == 1 or j == accumulate - 1  # over ranks, once a step
            with nullcontext() if averaged else model.no_sync():
                loss = model(part_of(part_of(batch, j, accumulate), rank, world_size))
                (loss / accumulate).backward()
            losses.append(loss.item())
        named = method.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
        method.before_step(step / STEPS)
        optimizer.step()
        method.update(step / STEPS)
    return Steps(losses, gradients, dict(method.state_dict()))
