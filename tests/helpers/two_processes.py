"""What test_distributed.py runs in one process and in two: every method, step by step.

A case is a method on a network without batch norm, so that nothing depends on which images share a
process, unless it shuffles: batch norms are then split in one process as two processes split them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from omegaconf import OmegaConf
from pytorch_metric_learning import losses, miners
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_zoo import distributed
from ssl_zoo.losses import NCE, InfoNCE, NegativeCosine, NormalizedMSE, NTLogistic
from ssl_zoo.methods import BYOL, InstDisc, Method, MetricLearning, MoCo, SimCLR, SimSiam
from ssl_zoo.modules import (
    MLP,
    InBatch,
    Lagged,
    MemoryBank,
    Momentum,
    Queue,
    Shared,
    ShuffleBN,
    StopGradient,
)
from ssl_zoo.modules.miners import AllTuples
from ssl_zoo.modules.targets import Target
from ssl_zoo.train import train
from ssl_zoo.types import Facts, MultiViewBatch

STEPS, IMAGES, CLASSES = 5, 8, 3
FACTS = Facts(num_images=13, num_classes=CLASSES)


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


# --- the methods --------------------------------------------------------------------------------

HEAD = partial(MLP, out_dim=5, hidden_norm=False)

PREDICTOR = partial(MLP, hidden_dim=7, hidden_norm=False)

EMA = partial(Momentum, momentum=0.8)

QUEUED = partial(Queue, size=20)  # no multiple of a step's 8 keys, nor of 16

INFO_NCE = partial(InfoNCE, 0.2)

SUBSAMPLED = partial(NTLogistic, 0.5, "subsample", num_subsampled=2)


def net() -> nn.Module:
    return NormFree([8, 8], [2, 1])


def simclr(loss: Callable[[], nn.Module] = INFO_NCE) -> Method:
    return SimCLR(net(), HEAD, InBatch, loss())


def moco(
    target: Callable[..., nn.Module] = EMA,
    negatives: Callable[..., nn.Module] = QUEUED,
    loss: Callable[[], nn.Module] = INFO_NCE,
    symmetric: bool = False,
) -> Method:
    return MoCo(net(), HEAD, target, negatives, loss(), symmetric=symmetric, facts=FACTS)


def simsiam(target: Callable[..., nn.Module] = StopGradient) -> Method:
    return SimSiam(net(), HEAD, PREDICTOR, target, NegativeCosine())


def byol() -> Method:
    target = partial(Momentum, momentum=0.6, final_momentum=1.0)
    return BYOL(net(), HEAD, PREDICTOR, target, NormalizedMSE())


def instdisc(loss: Any, num_negatives: int | None) -> Method:
    bank = partial(MemoryBank, num_negatives=num_negatives)
    return InstDisc(net(), HEAD, bank, loss, proximal_weight=0.3, facts=FACTS)


def metric_learning(loss: Any, miner: nn.Module) -> Method:
    return MetricLearning(net(), HEAD, loss, miner, facts=FACTS)


def shuffled_norms(inner: Callable[..., nn.Module], negatives: Callable[..., nn.Module]) -> Method:
    splits = 2 // distributed.world_size()  # one process splits its norms as two processes would
    target = partial(ShuffleBN, target=inner, num_splits=splits, seed=3)
    head = partial(MLP, out_dim=5)
    return MoCo(Normed(), head, target, negatives, INFO_NCE())


CASES: dict[str, Callable[[], Method]] = {
    "simclr": simclr,
    "simclr_subsampled": partial(simclr, SUBSAMPLED),
    "moco": moco,
    "moco_symmetric": partial(moco, symmetric=True),
    "moco_shuffled": partial(moco, partial(ShuffleBN, target=EMA), symmetric=True),
    "moco_end_to_end": partial(moco, Shared, InBatch, symmetric=True),
    "moco_bank": partial(moco, negatives=partial(MemoryBank, num_negatives=6), symmetric=True),
    "moco_subsampled": partial(moco, loss=SUBSAMPLED),
    "simsiam": simsiam,
    "simsiam_lagged": partial(simsiam, partial(Lagged, every=2)),
    "byol": byol,
    "instdisc": partial(instdisc, partial(NCE, temperature=0.5), 6),
    "instdisc_softmax": partial(instdisc, InfoNCE(0.5), None),
    "metric_learning_pairs": partial(
        metric_learning, losses.MultiSimilarityLoss(), miners.MultiSimilarityMiner()
    ),
    "metric_learning_proxies": partial(
        metric_learning, partial(losses.ArcFaceLoss, scale=4), AllTuples()
    ),
    "shuffled_norms": partial(shuffled_norms, EMA, QUEUED),
    "shuffled_norms_end_to_end": partial(shuffled_norms, Shared, InBatch),
}

# --- optimizer steps ----------------------------------------------------------------------------


class LossOf(nn.Module):
    """What DDP wraps: the loss of a method's step."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: MultiViewBatch) -> Tensor:
        return self.method.step(batch).loss


def make_batch(step: int, num_views: int) -> MultiViewBatch:
    """The global batch; in odd steps some images are there twice, within and across the halves."""
    generator = torch.Generator().manual_seed(step)
    colour = 3 * torch.randn(2, IMAGES, 3, 1, 1, generator=generator, dtype=torch.float64)
    views = colour + torch.randn(2, IMAGES, 3, 6, 6, generator=generator, dtype=torch.float64)
    index = torch.arange(IMAGES) if step % 2 == 0 else torch.tensor([0, 1, 1, 2, 3, 0, 5, 2])
    label = index % CLASSES  # the supervised method reads it
    return MultiViewBatch(list(views[:num_views]), label, index + step)


def part_of(batch: MultiViewBatch, part: int, num_parts: int) -> MultiViewBatch:
    def cut(x: Tensor) -> Tensor:
        return x.chunk(num_parts)[part]

    return MultiViewBatch([cut(view) for view in batch.views], cut(batch.label), cut(batch.index))


class Steps(NamedTuple):
    """Of each micro-batch the loss, of each optimizer step the gradients, and what is left."""

    losses: list[float]
    gradients: list[dict[str, Tensor]]
    state: dict[str, Tensor]


def run_steps(case: str, accumulate: int) -> Steps:
    """Optimizer steps on this process's part of each micro-batch, as Lightning takes them."""
    rank, world_size = distributed.rank(), distributed.world_size()
    torch.manual_seed(0)
    method = CASES[case]().double()
    model: Any = LossOf(method)
    if world_size > 1:
        model = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(method.param_groups(), lr=0.05, momentum=0.9)
    losses, gradients = [], []
    for step in range(STEPS):
        batch = make_batch(step, num_views=next(n for n in (1, 2) if method.takes_views(n)))
        optimizer.zero_grad()
        for j in range(accumulate):
            averaged = world_size == 1 or j == accumulate - 1  # over ranks, once a step
            with nullcontext() if averaged else model.no_sync():
                loss = model(part_of(part_of(batch, j, accumulate), rank, world_size))
                (loss / accumulate).backward()
            losses.append(loss.item())
        named = method.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
        optimizer.step()
        method.update(step / STEPS)
    return Steps(losses, gradients, dict(method.state_dict()))


# --- random draws -------------------------------------------------------------------------------


class Witness(Target):
    """Remembers the views that it is handed, and returns them."""

    def forward(self, view: Tensor, encoder: nn.Module, embedding: Tensor | None = None) -> Tensor:
        self.seen = view
        return view


def shuffles() -> dict[str, Tensor]:
    """This process's part of the rows in two shuffled orders, and what comes back of them."""
    shuffle = ShuffleBN(nn.Identity(), Witness, seed=5)
    rows = torch.arange(IMAGES).chunk(distributed.world_size())[distributed.rank()]
    returned, seen = [], []
    for _ in range(2):
        returned.append(shuffle(rows, nn.Identity()))
        seen.append(shuffle.target.seen)  # type: ignore[union-attr]
    return {"returned": torch.stack(returned), "seen": torch.stack(seen)}


def bank_draws() -> Tensor:
    """The slots that this process draws for its images, in two steps: row i of the bank is i."""
    bank = MemoryBank(dim=2, facts=Facts(num_images=40), num_negatives=9, seed=5).double()
    angle = torch.arange(40, dtype=torch.float64) / 40
    index = (5 * torch.arange(IMAGES)).chunk(distributed.world_size())[distributed.rank()]
    query = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(index), 2)
    draws = []
    for _ in range(2):
        bank.bank.copy_(torch.stack([angle.cos(), angle.sin()], dim=1))
        similarity = bank.negatives(query, query, index)[1]
        draws.append((similarity.acos() * 40).round().long())
        bank.push(query, index)
        bank.update()
    return torch.stack(draws)


# --- collectives --------------------------------------------------------------------------------


def rows(rank: int, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + rank)
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def collectives(rank: int) -> dict[str, Any]:
    x = rows(rank, 3).requires_grad_()
    gathered = distributed.all_gather(x)
    (gathered * rows(rank, 6, seed=10)).sum().backward()

    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    count = (3, 5)[rank]  # ranks need not sum up equally many terms
    mean = distributed.global_mean((w * rows(rank, count)).sum(), count)
    mean.backward()
    return {
        "rank": (distributed.rank(), distributed.world_size()),
        "gathered": gathered.detach(),
        "gather_gradient": x.grad,
        "index": distributed.all_gather(torch.tensor([rank, 7])),
        "uneven": distributed.gather_uneven(rows(rank, 1 + 2 * rank)),
        "one_empty": distributed.gather_uneven(torch.arange(2 * rank)),
        "mean": mean.item(),
        "mean_gradient": w.grad,
    }


# --- the processes ------------------------------------------------------------------------------


def worker(rank: int, folder: Path, port: int, configs: dict[str, dict[str, Any]]) -> None:
    """What each of the two processes does; it leaves its findings in `folder`."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'store'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    results = collectives(rank)
    results["shuffles"], results["bank_draws"] = shuffles(), bank_draws()
    for case in CASES:
        for accumulate in (1, 2):
            results[f"{case} {accumulate}"] = tuple(run_steps(case, accumulate))
    dist.destroy_process_group()
    # as a cluster starts the processes of a run
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= address | {"NODE_RANK": "0", "LOCAL_RANK": str(rank)}
    results["metrics"] = {name: train(OmegaConf.create(cfg)) for name, cfg in configs.items()}
    torch.save(results, folder / f"{rank}.pt")
