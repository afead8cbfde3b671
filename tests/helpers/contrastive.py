"""The contrastive losses, and loops over their formulas, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssl_zoo.losses import (
    NCE,
    ContrastiveMargin,
    FaceNetTriplet,
    InfoNCE,
    MarginTriplet,
    NPair,
    NTLogistic,
)
from ssl_zoo.modules import InBatch
from ssl_zoo.types import Facts

INF = float("inf")

Rows = list[tuple[float, list[float]]]

# --- the formulas, pair by pair -----------------------------------------------------------------


def rows(pos: Tensor, neg: Tensor) -> Rows:
    """Each query's positive and its negatives, without those that are none."""
    pairs = zip(pos.double().tolist(), neg.double().tolist(), strict=True)
    return [(p, [s for s in row if s != -INF]) for p, row in pairs]


def combinations(data: Rows) -> Iterator[tuple[float, float]]:
    return ((p, s) for p, row in data for s in row)


def softplus(x: float) -> float:
    """log(1 + exp(x)), whatever the size of x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def mean_or_zero(values: list[float]) -> float:
    return mean(values) if values else 0.0


def npair(data: Rows) -> float:
    return mean([math.log(1 + sum(math.exp(s - p) for s in row)) for p, row in data])


def dcl(t: float) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        repel = [math.log(sum(math.exp(s / t) for s in row)) if row else 0.0 for _, row in data]
        return mean([r - p / t for (p, _), r in zip(data, repel, strict=True)])

    return loop


def triplet(keep: Callable[[float, float], bool], margin: float) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        kept = [(p, s) for p, s in combinations(data) if keep(p, s)]
        return mean_or_zero([max(s - p + margin, 0.0) for p, s in kept])

    return loop


def facenet(data: Rows) -> float:
    return mean([max((2 - 2 * p) - (2 - 2 * s) + 0.2, 0.0) for p, s in combinations(data)])


def hadsell(data: Rows) -> float:
    positives = [(2 - 2 * p) / 2 for p, _ in data]
    negatives = [max(1.1 - math.sqrt(2 - 2 * s), 0.0) ** 2 / 2 for _, s in combinations(data)]
    return mean(positives + negatives)


def logistic(
    t: float, keep: Callable[[float, float], bool] = lambda p, s: True
) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        negatives = [softplus(s / t) for p, s in combinations(data) if keep(p, s)]
        return mean([softplus(-p / t) for p, _ in data] + negatives)

    return loop


def reweighted(t: float) -> Callable[[Rows], float]:
    def loop(data: Rows) -> float:
        negatives = [softplus(s / t) for _, s in combinations(data)]
        return mean([softplus(-p / t) for p, _ in data]) + mean(negatives)

    return loop


def nce(n: int, t: float, z: str, eps: float = 1e-7) -> Callable[[Rows], float]:
    """As lemniscate computes it, from probabilities."""

    def loop(data: Rows) -> float:
        drawn = [s for p, row in data for s in ([p, *row] if z == "code" else row)]
        big_z = n * mean([math.exp(s / t) for s in drawn])
        losses = []
        for p, row in data:
            noise = len(row) / n
            prob = math.exp(p / t) / big_z
            loss = -math.log(prob / (prob + noise + eps))
            for s in row:
                prob = math.exp(s / t) / big_z
                loss -= math.log(noise / (prob + noise + eps))
            losses.append(loss)
        return mean(losses)

    return loop


Case = tuple[Callable[[], nn.Module], Callable[[Rows], float]]

CASES: dict[str, Case] = {
    "npair": (NPair, npair),
    "dcl": (lambda: InfoNCE(0.2, decoupled=True), dcl(0.2)),
    "triplet": (lambda: MarginTriplet(0.4), triplet(lambda p, s: True, 0.4)),
    "triplet, no margin": (lambda: MarginTriplet(0.0), triplet(lambda p, s: True, 0.0)),
    "triplet, semi-hard": (
        lambda: MarginTriplet(0.4, "semi_hard"),
        triplet(lambda p, s: p - 0.4 < s < p, 0.4),
    ),
    "triplet, semi-hard wide": (
        lambda: MarginTriplet(0.4, "semi_hard_wide"),
        triplet(lambda p, s: p + 0.4 > s, 0.4),
    ),
    "facenet": (FaceNetTriplet, facenet),
    "hadsell": (lambda: ContrastiveMargin(1.1), hadsell),
    "logistic": (lambda: NTLogistic(0.2), logistic(0.2)),
    "logistic, reweight": (lambda: NTLogistic(0.2, "reweight"), reweighted(0.2)),
    "logistic, semi-hard": (
        lambda: NTLogistic(0.2, "semi_hard"),
        logistic(0.2, lambda p, s: s < p),
    ),
    "logistic, semi-hard within a margin": (
        lambda: NTLogistic(0.2, "semi_hard", margin=0.5),
        logistic(0.2, lambda p, s: p - 0.5 < s < p),
    ),
    "logistic, all are drawn": (
        lambda: NTLogistic(0.2, "subsample", num_subsampled=99),
        logistic(0.2),
    ),
    "nce": (lambda: NCE(Facts(100), 0.1), nce(100, 0.1, "code")),
    "nce, eps": (lambda: NCE(Facts(100), 0.1, eps=0.03), nce(100, 0.1, "code", 0.03)),
    "nce, no eps": (lambda: NCE(Facts(100), 0.1, eps=0.0), nce(100, 0.1, "code", 0.0)),
    "nce, paper": (lambda: NCE(Facts(100), 0.1, "paper"), nce(100, 0.1, "paper")),
}

LOSSES = pytest.mark.parametrize("name", CASES)


def with_gaps(seed: int = 1) -> tuple[Tensor, Tensor]:
    """Similarities of 6 queries; every one but the last has some of 9 negatives."""
    pos, neg = random_similarities(6, 9, seed)
    gaps = torch.rand(6, 9, generator=torch.Generator().manual_seed(seed)) < 0.3
    gaps[-1] = True
    return pos, neg.masked_fill(gaps, -INF)


# --- by hand ------------------------------------------------------------------------------------


def golden_views() -> tuple[Tensor, Tensor]:
    return torch.tensor(VIEW_1, dtype=torch.float64), torch.tensor(VIEW_2, dtype=torch.float64)


# --- two processes ------------------------------------------------------------------------------

SPREAD: dict[str, Callable[[], nn.Module]] = {
    **{name: make for name, (make, _) in CASES.items()},
    "logistic, subsample": lambda: NTLogistic(0.2, "subsample", num_subsampled=2),
    "infonce": InfoNCE,
    "dcl, weighted": lambda: InfoNCE(0.2, decoupled=True, sigma=0.5),
    "nothing kept": lambda: MarginTriplet(1e-9, "semi_hard"),
}


def value_and_gradients(loss: nn.Module, rank: int, world_size: int) -> list[Tensor]:
    """The loss twice (a constant Z, a second draw), and the second one's gradients."""
    pos, neg = (x.chunk(world_size)[rank].clone().requires_grad_() for x in with_gaps())
    first, second = loss(pos, neg), loss(pos, neg)
    second.backward()
    assert pos.grad is not None
    assert neg.grad is not None
    return [torch.stack([first, second]).detach(), pos.grad, neg.grad]


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store, limit = f"file://{folder / 'store'}", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=limit)
    results = {name: value_and_gradients(make().double(), rank, 2) for name, make in SPREAD.items()}
    dist.destroy_process_group()
    torch.save(results, folder / f"{rank}.pt")


# Two images, two views each: cosines 0.8 within an image; 0, 0.6 and 0.96 between images.
VIEW_1 = [[1.0, 0.0], [0.0, 1.0]]

VIEW_2 = [[0.8, 0.6], [0.6, 0.8]]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def both_views(view1: Tensor, view2: Tensor) -> tuple[Tensor, Tensor]:
    """Positives and negatives of the 2N views, as SimCLR asks for them."""
    index = torch.arange(len(view1)).repeat(2)
    query, key = torch.cat([view1, view2]), torch.cat([view2, view1])
    return InBatch().negatives(query, key, index)


def random_similarities(n: int = 5, k: int = 9, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pos = torch.rand(n, generator=generator, dtype=torch.float64) * 2 - 1
    neg = torch.rand(n, k, generator=generator, dtype=torch.float64) * 2 - 1
    return pos, neg
