"""Predictive losses against hand-computed values and python loops over their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ssl_zoo.losses import NegativeCosine, NormalizedMSE, SoftmaxCrossEntropy

P1, Z2 = [[1.0, 0.0], [3.0, 4.0]], [[0.8, 0.6], [4.0, 3.0]]

P2, Z1 = [[0.0, 2.0], [1.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]]

Row = list[float]


def cosine(p: Row, z: Row) -> float:
    dot = sum(a * b for a, b in zip(p, z, strict=True))
    return dot / (math.hypot(*p) * math.hypot(*z))


def distance(p: Row, z: Row) -> float:
    return sum((a / math.hypot(*p) - b / math.hypot(*z)) ** 2 for a, b in zip(p, z, strict=True))


def cross_entropy(p: Row, z: Row) -> float:
    log_sum = math.log(sum(math.exp(a) for a in p))
    weights = [math.exp(b) / sum(math.exp(c) for c in z) for b in z]
    return -sum(w * (a - log_sum) for w, a in zip(weights, p, strict=True))


Case = tuple[type[nn.Module], Callable[[Row, Row], float]]

CASES: dict[str, Case] = {
    "cosine": (NegativeCosine, lambda p, z: -cosine(p, z)),
    "mse": (NormalizedMSE, distance),
    "cross entropy": (SoftmaxCrossEntropy, cross_entropy),
}

LOSSES = pytest.mark.parametrize("name", CASES)


def vectors(n: int = 6, dim: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    p, z = torch.randn(2, n, dim, generator=generator, dtype=torch.float64)
    return p, z


def loop(row: Callable[[Row, Row], float], p: Tensor, z: Tensor) -> float:
    pairs = zip(p.double().tolist(), z.double().tolist(), strict=True)
    return sum(row(a, b) for a, b in pairs) / len(p)


@pytest.mark.parametrize(
    ("loss", "halves", "expected"),
    [(NegativeCosine(), 0.5, -0.8667766953), (NormalizedMSE(), 1.0, 0.5328932188)],
)
def test_two_directions_by_hand(loss: nn.Module, halves: float, expected: float) -> None:
    p1, z2, p2, z1 = (torch.tensor(x, dtype=torch.float64) for x in (P1, Z2, P2, Z1))
    both = halves * (loss(p1, z2) + loss(p2, z1))
    assert both.item() == pytest.approx(expected, rel=1e-9)


def test_cross_entropy_by_hand() -> None:
    prediction, target = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[1.0, 0.0, -1.0]])
    loss = SoftmaxCrossEntropy()(prediction=prediction.double(), target=target.double())
    assert loss.item() == pytest.approx(1.003035375, rel=1e-9)


@LOSSES
def test_equals_loop(name: str) -> None:
    make, row = CASES[name]
    p, z = vectors()
    assert make()(prediction=p, target=z).item() == pytest.approx(loop(row, p, z), abs=1e-12)


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    make, row = CASES[name]
    p, z = (x.to(dtype) for x in vectors())
    loss = make()(p, z)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(loop(row, p, z), rel=1e-6)


@LOSSES
def test_gradcheck_on_both_sides(name: str) -> None:
    p, z = (x.requires_grad_() for x in vectors(3, 4))
    assert torch.autograd.gradcheck(CASES[name][0](), (p, z))


@LOSSES
def test_nothing_is_detached(name: str) -> None:
    p, z = (x.requires_grad_() for x in vectors())
    CASES[name][0]()(p, z).backward()
    for side in (p, z):
        assert side.grad is not None
        assert (side.grad.norm(dim=1) > 0).all()


@pytest.mark.parametrize("loss", [NegativeCosine(), NormalizedMSE()])
def test_lengths_do_not_matter(loss: nn.Module) -> None:
    p, z = vectors()
    expected = loss(p, z).item()
    assert loss(p * 1e-3, z * torch.arange(1, 7)[:, None]).item() == pytest.approx(expected)


def test_range() -> None:
    p, _ = vectors()
    for loss, same, opposite in ((NegativeCosine(), -1.0, 1.0), (NormalizedMSE(), 0.0, 4.0)):
        assert loss(p, 2 * p).item() == pytest.approx(same, abs=1e-12)
        assert loss(p, -p).item() == pytest.approx(opposite)


@LOSSES
def test_extreme_embeddings_stay_finite(name: str) -> None:
    for scale in (0.0, 1e-20, 1e4, 1e8):
        p, z = ((x * scale).float().requires_grad_() for x in vectors())
        loss = CASES[name][0]()(p, z)
        loss.backward()
        assert loss.isfinite()
        assert p.grad is not None
        assert p.grad.isfinite().all()
