"""The losses that conf/method/metric_loss builds against formulas of our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from pytorch_metric_learning import losses
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from helpers.metric_learning import CLASSES, DIM, N
from ssl_zoo.config import CONFIG_DIR


def loss_of(name: str, **knobs: Any) -> nn.Module:
    """What conf/method/metric_loss makes, in double precision."""
    node = OmegaConf.load(Path(CONFIG_DIR) / f"method/metric_loss/{name}.yaml")
    made = instantiate(node, **knobs)
    loss: nn.Module = (
        made if isinstance(made, nn.Module) else made(num_classes=CLASSES, embedding_size=DIM)
    )
    return loss.double()


def batch() -> tuple[Tensor, Tensor]:
    """Unit embeddings, somewhat nearer within a class than between, and their labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES).repeat(N // CLASSES)
    centers = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    noise = torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    return normalize(centers[labels] + 1.5 * noise, dim=1), labels


def distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)))


def pairs(same: bool) -> list[tuple[int, int]]:
    _, labels = batch()
    return [
        (i, j) for i in range(N) for j in range(N) if i != j and (labels[i] == labels[j]) == same
    ]


def mean_of_positive(values: list[float]) -> float:
    kept = [value for value in values if value > 0]
    return sum(kept) / len(kept)


def contrastive(z: Tensor, loss: Any) -> float:
    pos = [max(0.0, distance(z[i], z[j]) - loss.pos_margin) for i, j in pairs(True)]
    neg = [max(0.0, loss.neg_margin - distance(z[i], z[j])) for i, j in pairs(False)]
    return mean_of_positive(pos) + mean_of_positive(neg)


def triplet(z: Tensor, loss: Any) -> float:
    return mean_of_positive(
        [
            max(0.0, distance(z[a], z[p]) - distance(z[a], z[n]) + loss.margin)
            for a, p in pairs(True)
            for b, n in pairs(False)
            if a == b
        ]
    )


def nt_xent(z: Tensor, loss: Any) -> float:
    """Of each positive pair by itself: its anchor's negatives and the pair in the denominator."""
    terms = []
    for a, p in pairs(True):
        logits = [float(z[a] @ z[k]) / loss.temperature for k in [p, *negatives_of(a)]]
        terms.append(math.log(sum(math.exp(x - logits[0]) for x in logits)))
    return sum(terms) / len(terms)


def negatives_of(a: int) -> list[int]:
    return [n for b, n in pairs(False) if a == b]


def multi_similarity(z: Tensor, loss: Any) -> float:
    terms = []
    for a in range(N):
        pos = sum(
            math.exp(-loss.alpha * (float(z[a] @ z[p]) - loss.base))
            for b, p in pairs(True)
            if a == b
        )
        neg = sum(math.exp(loss.beta * (float(z[a] @ z[n]) - loss.base)) for n in negatives_of(a))
        terms.append(math.log(1 + pos) / loss.alpha + math.log(1 + neg) / loss.beta)
    return sum(terms) / N


def margin(z: Tensor, loss: Any) -> float:
    """Hinges of both distances about beta, over all triplets, by the number of non-zero hinges."""
    beta, total, count = loss.beta.item(), 0.0, 0
    for a, p in pairs(True):
        for n in negatives_of(a):
            pos = max(0.0, distance(z[a], z[p]) - beta + loss.margin)
            neg = max(0.0, beta - distance(z[a], z[n]) + loss.margin)
            total, count = total + pos + neg, count + (pos > 0) + (neg > 0)
    return total / count


def cosines(z: Tensor, weight: Tensor) -> Tensor:
    return z @ normalize(weight, dim=0)


def normalized_softmax(z: Tensor, loss: Any) -> float:
    return float(cross_entropy(cosines(z, loss.W) / loss.temperature, batch()[1]))


def cosface(z: Tensor, loss: Any) -> float:
    cos, labels = cosines(z, loss.W), batch()[1]
    own = nn.functional.one_hot(labels, CLASSES)
    return float(cross_entropy(loss.scale * (cos - loss.margin * own), labels))


def arcface(z: Tensor, loss: Any) -> float:
    cos, labels = cosines(z, loss.W), batch()[1]
    own = nn.functional.one_hot(labels, CLASSES).bool()
    angle = cos.acos() + math.radians(28.6)
    assert float(angle.max()) < math.pi  # the continuation beyond is not met here
    return float(cross_entropy(loss.scale * torch.where(own, angle.cos(), cos), labels))


def soft_triple(z: Tensor, loss: Any) -> float:
    labels = batch()[1]
    cos = cosines(z, loss.fc).view(N, CLASSES, -1)
    similarity = ((cos / 0.1).softmax(dim=2) * cos).sum(dim=2)
    own = nn.functional.one_hot(labels, CLASSES)
    return float(cross_entropy(loss.la * (similarity - loss.margin * own), labels))


def proxy_nca(z: Tensor, loss: Any) -> float:
    squared = torch.cdist(z, normalize(loss.proxies, dim=1)) ** 2
    return float(cross_entropy(-loss.softmax_scale * squared, batch()[1]))


FORMULAS: list[Callable[[Tensor, Any], float]] = [
    *(contrastive, triplet, nt_xent, multi_similarity, margin),
    *(normalized_softmax, cosface, arcface, soft_triple, proxy_nca),
]


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda f: f.__name__)
@torch.no_grad()
def test_losses_equal_their_formulas(formula: Callable[[Tensor, Any], float]) -> None:
    torch.manual_seed(0)
    loss = loss_of(formula.__name__)
    z, labels = batch()
    value = loss(z, labels).item()
    assert value == pytest.approx(formula(z, loss), rel=1e-6)
    assert value > 0.01


T4 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.6, 0.8]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (loss_of("contrastive"), 0.9418898339),
        (loss_of("triplet"), 0.3996128196),
        (loss_of("multi_similarity"), 0.4988111289),
        (loss_of("nt_xent", temperature=0.5), 0.8707137571),
        (loss_of("nt_xent", temperature=0.1), 0.9668017297),
    ],
    ids=lambda value: type(value).__name__,
)
def test_published_pair_losses(loss: nn.Module, value: float) -> None:
    assert float(loss(T4, torch.tensor([0, 1, 0, 1]))) == pytest.approx(value, abs=1e-6)


def with_cosines(name: str, cos: list[float], **knobs: Any) -> float:
    """The loss of one embedding whose cosines to the class weights are given."""
    loss: Any = loss_of(name, **knobs)
    across = [math.sqrt(1 - c * c) for c in cos]
    weight = torch.zeros(DIM, len(cos), dtype=torch.float64)
    weight[0], weight[1] = torch.tensor(cos), torch.tensor(across)
    parameter = next(iter(loss.parameters()))
    parameter.data = weight.T.contiguous() if name == "proxy_nca" else weight
    value: float = loss(torch.eye(DIM, dtype=torch.float64)[:1], torch.tensor([0])).item()
    return value


@pytest.mark.parametrize(
    ("name", "knobs", "value"),
    [
        ("arcface", {}, 0.0006290652654),
        ("arcface", {"margin": math.degrees(0.5)}, 0.0006604317828),
        ("arcface", {"margin": math.degrees(0.5), "scale": 8.0}, 0.3419825924),
        ("cosface", {}, 6.7726443e-05),
        ("cosface", {"scale": 8.0}, 0.267513122),
        ("normalized_softmax", {}, 4.540096028e-05),
        ("normalized_softmax", {"temperature": 0.5}, 0.4076059644),
    ],
)
def test_published_softmax_losses(name: str, knobs: dict[str, float], value: float) -> None:
    assert with_cosines(name, [0.8, 0.3, -0.2], **knobs) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize(("scale", "value"), [(1.0, 0.6271230573), (10.0, 0.01815003843)])
def test_published_proxy_nca(scale: float, value: float) -> None:
    """The library's, whose softmax has the own proxy in it; squared distances 0.4, 2 and 0.8."""
    cos = [1 - d / 2 for d in (0.4, 2.0, 0.8)]
    assert with_cosines("proxy_nca", cos, softmax_scale=scale) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("la", "value"), [(20.0, 0.002697129904), (4.0, 0.2672800005)])
def test_published_soft_triple(la: float, value: float) -> None:
    loss: Any = losses.SoftTripleLoss(2, 3, centers_per_class=2, la=la, gamma=0.1, margin=0.01)
    cos = torch.tensor([0.8, 0.2, 0.5, 0.1], dtype=torch.float64)
    loss.fc.data = torch.stack([cos, (1 - cos**2).sqrt(), 0 * cos])
    z = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert loss(z, torch.tensor([0])).item() == pytest.approx(value, rel=1e-6)
