"""Where pytorch-metric-learning has the same loss, ours equals it, and its gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytorch_metric_learning import losses, miners, reducers
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity, LpDistance
from torch import Tensor, nn

from ssl_zoo.losses import FaceNetTriplet, InfoNCE, MarginTriplet, NPair
from ssl_zoo.modules import InBatch, Queue

N, DIM, QUEUE = 6, 4, 9


def views() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, N, DIM, generator=generator, dtype=torch.float64)
    z[1] += z[0]  # positives that are nearer than most negatives, as in training
    return z[0].clone().requires_grad_(), z[1].clone().requires_grad_()


def assert_equal(ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[..., Tensor]) -> None:
    found = []
    for loss in (ours, theirs):
        z1, z2 = views()
        value = loss(z1, z2)
        value.backward()
        found.append([value.detach(), z1.grad, z2.grad])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    assert found[0][0] > 0


def both_views(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """As SimCLR calls it: every view against every view of the other images."""

    def run(z1: Tensor, z2: Tensor) -> Tensor:
        index = torch.arange(N).repeat(2)
        query, key = torch.cat([z1, z2]), torch.cat([z2, z1])
        pos, neg = InBatch().negatives(query, key, index)
        value: Tensor = loss(pos=pos, neg=neg)
        return value

    return run


def labelled(loss: nn.Module, miner: nn.Module | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    def run(z1: Tensor, z2: Tensor) -> Tensor:
        embeddings, labels = torch.cat([z1, z2]), torch.arange(N).repeat(2)
        tuples = miner(embeddings, labels) if miner else None
        value: Tensor = loss(embeddings, labels, tuples)
        return value

    return run


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent(temperature: float) -> None:
    assert_equal(both_views(InfoNCE(temperature)), labelled(losses.NTXentLoss(temperature)))


def test_info_nce_over_a_queue() -> None:
    keys = torch.randn(QUEUE, DIM, dtype=torch.float64)

    def ours(z1: Tensor, z2: Tensor) -> Tensor:
        queue = Queue(DIM, QUEUE).double()
        queue.queue.copy_(nn.functional.normalize(keys, dim=1))
        pos, neg = queue.negatives(z1, z2, torch.arange(N))
        value: Tensor = InfoNCE(0.2)(pos=pos, neg=neg)
        return value + 0 * z2.sum()

    def theirs(z1: Tensor, z2: Tensor) -> Tensor:
        rows = [  # each query by itself: in MoCo the batch's other keys are no negatives
            losses.NTXentLoss(0.2)(
                q[None],
                torch.zeros(1),
                ref_emb=torch.cat([k[None].detach(), keys]),
                ref_labels=torch.tensor([0, *range(1, QUEUE + 1)]),
            )
            for q, k in zip(z1, z2, strict=True)
        ]
        return torch.stack(rows).mean() + 0 * z2.sum()

    assert_equal(ours, theirs)


def test_npair() -> None:
    def ours(z1: Tensor, z2: Tensor) -> Tensor:
        pos, neg = InBatch(normalize=False).negatives(z1, z2, torch.arange(N))
        value: Tensor = NPair()(pos=pos, neg=neg)
        return value

    dot = DotProductSimilarity(normalize_embeddings=False)

    def theirs(z1: Tensor, z2: Tensor) -> Tensor:
        pairs = torch.arange(N), torch.arange(N, 2 * N), torch.tensor([]), torch.tensor([])
        value: Tensor = losses.NPairsLoss(distance=dot)(
            torch.cat([z1, z2]), torch.arange(N).repeat(2), pairs
        )
        return value

    assert_equal(ours, theirs)


@pytest.mark.parametrize("margin", [0.0, 0.4, 0.8])
def test_margin_triplet(margin: float) -> None:
    theirs = losses.TripletMarginLoss(
        margin, distance=CosineSimilarity(), reducer=reducers.MeanReducer()
    )
    assert_equal(both_views(MarginTriplet(margin)), labelled(theirs))


def test_semi_hard_margin_triplet() -> None:
    cosine, mean = CosineSimilarity(), reducers.MeanReducer()
    theirs = losses.TripletMarginLoss(0.4, distance=cosine, reducer=mean)
    miner = miners.TripletMarginMiner(0.4, type_of_triplets="semihard", distance=cosine)
    ours = MarginTriplet(0.4, mode="semi_hard")
    assert_equal(both_views(ours), labelled(theirs, miner))


def test_facenet_triplet() -> None:
    squared = LpDistance(normalize_embeddings=True, p=2, power=2)
    theirs = losses.TripletMarginLoss(0.5, distance=squared, reducer=reducers.MeanReducer())
    assert_equal(both_views(FaceNetTriplet(0.5)), labelled(theirs))
