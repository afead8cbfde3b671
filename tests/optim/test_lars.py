"""LARS against a scalar loop and hand-computed steps."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.optim import vector
from ssl_zoo.optim import LARS
from ssl_zoo.types import UserError

VARIANTS = [
    {"trust": trust, "lr_in_buffer": inside, "nesterov": nesterov}
    for trust, inside, nesterov in itertools.product(
        ("joint", "separate"), (True, False), (True, False)
    )
]
VARIANTS += [{"trust": "separate", "lr_in_buffer": False, "clip": True, "trust_coefficient": 0.3}]

RATES = [0.1, 0.4, 0.4, 0.05, 0.2]


def norm(x: list[float]) -> float:
    return math.sqrt(sum(value * value for value in x))


def loop(
    w: list[float],
    grads: list[list[float]],
    rates: list[float],
    *,
    trust: str = "joint",
    lr_in_buffer: bool = True,
    nesterov: bool = False,
    clip: bool = False,
    trust_coefficient: float = 0.001,
    decay: float = 0.01,
    momentum: float = 0.9,
    adapt: bool = True,
) -> list[float]:
    """LARS on one tensor, number by number."""
    w, v = list(w), [0.0] * len(w)
    for g, lr in zip(grads, rates, strict=True):
        d = [gi + decay * wi for gi, wi in zip(g, w, strict=True)]
        below = norm(d) if trust == "joint" else norm(g) + decay * norm(w)
        q = trust_coefficient * norm(w) / below if adapt and norm(w) > 0 and below > 0 else 1.0
        q = min(q / lr, 1.0) if clip else q
        for i in range(len(w)):
            step = q * d[i] * (lr if lr_in_buffer else 1.0)
            v[i] = momentum * v[i] + step
            ahead = step + momentum * v[i] if nesterov else v[i]
            w[i] -= ahead if lr_in_buffer else lr * ahead
    return w


def run(
    optimizer: torch.optim.Optimizer,
    params: list[Tensor],
    grads: list[list[Tensor]],
    rates: list[float],
) -> None:
    """One step for each rate; grads[step][i] is the gradient of params[i]."""
    for step, lr in zip(grads, rates, strict=True):
        for p, g in zip(params, step, strict=True):
            p.grad = g.clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()


def random_problem(
    shapes: list[tuple[int, ...]], steps: int = 5, seed: int = 0
) -> tuple[list[Tensor], list[list[Tensor]]]:
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return [draw(s) for s in shapes], [[draw(s) for s in shapes] for _ in range(steps)]


@pytest.mark.parametrize(
    ("options", "gradient", "rates", "expected"),
    [
        ({}, (0.6, 0.8), [0.1], (2.9997, 3.9996)),
        ({"trust": "separate"}, (0.6, 0.8), [0.1], (2.9997, 3.9996)),
        ({"lr_in_buffer": False}, (0.6, 0.8), [0.1], (2.9997, 3.9996)),
        ({}, (0.6, 0.8), [0.1, 0.05], (2.999280015, 3.99904002)),
        ({"lr_in_buffer": False}, (0.6, 0.8), [0.1, 0.05], (2.999415015, 3.99922002)),
        ({}, (0.8, -0.6), [0.1], (2.999585518, 4.000279651)),
        ({"trust": "separate"}, (0.8, -0.6), [0.1], (2.999604762, 4.000266667)),
    ],
)
def test_lars_by_hand(
    options: dict[str, Any],
    gradient: tuple[float, ...],
    rates: list[float],
    expected: tuple[float, ...],
) -> None:
    w = vector(3, 4)
    optimizer = LARS([w], lr=1.0, momentum=0.9, weight_decay=0.01, **options)
    run(optimizer, [w], [[vector(*gradient)]] * len(rates), rates)
    assert w.tolist() == pytest.approx(expected, rel=1e-9)


def test_buffer_by_hand() -> None:
    for inside, expected in ((True, (0.0003, 0.0004)), (False, (0.003, 0.004))):
        w = vector(3, 4)
        optimizer = LARS([w], lr=0.1, weight_decay=0.01, lr_in_buffer=inside)
        run(optimizer, [w], [[vector(0.6, 0.8)]], [0.1])
        assert optimizer.state[w]["momentum_buffer"].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_lars_equals_loop_for_many_shapes(variant: dict[str, Any]) -> None:
    params, grads = random_problem([(3,), (4, 2), (2, 3, 3, 3), (1, 1), (5, 1, 2)])
    plain, plain_grads = random_problem([(6,), (2, 2)], seed=1)
    expected = [
        loop(p.flatten().tolist(), [g[i].flatten().tolist() for g in grads], RATES, **variant)
        for i, p in enumerate(params)
    ] + [
        loop(
            p.flatten().tolist(),
            [g[i].flatten().tolist() for g in plain_grads],
            RATES,
            adapt=False,
            decay=0.3,
            **variant,
        )
        for i, p in enumerate(plain)
    ]
    groups = [{"params": params}, {"params": plain, "adapt": False, "weight_decay": 0.3}]
    optimizer = LARS(groups, lr=1.0, weight_decay=0.01, **variant)
    both = [a + b for a, b in zip(grads, plain_grads, strict=True)]
    run(optimizer, params + plain, both, RATES)
    for p, e in zip(params + plain, expected, strict=True):
        assert p.flatten().tolist() == pytest.approx(e, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_lars_where_norms_are_zero(variant: dict[str, Any], decay: float) -> None:
    zero_weight, zero_gradient, both_zero = vector(0, 0), vector(3, 4), vector(0, 0)
    params = [zero_weight, zero_gradient, both_zero]
    g = [0.6, -0.8]
    expected = [
        loop([0, 0], [g, g], [0.1, 0.2], decay=decay, **variant),
        loop([3, 4], [[0, 0], [0, 0]], [0.1, 0.2], decay=decay, **variant),
        [0.0, 0.0],
    ]
    optimizer = LARS(params, lr=1.0, weight_decay=decay, **variant)
    run(optimizer, params, [[vector(*g), vector(0, 0), vector(0, 0)]] * 2, [0.1, 0.2])
    for p, e in zip(params, expected, strict=True):
        assert p.tolist() == pytest.approx(e, rel=1e-12, abs=1e-15)
    assert zero_weight.norm() > 0.05  # ratio 1, not 0


def test_decay_that_cancels_the_gradient_moves_nothing() -> None:
    w = vector(3, 4)
    run(LARS([w], lr=1.0, weight_decay=0.5), [w], [[vector(-1.5, -2)]], [0.1])
    assert w.tolist() == [3, 4]


@pytest.mark.parametrize("nesterov", [False, True])
def test_unadapted_lars_is_sgd(nesterov: bool) -> None:
    ours, grads = random_problem([(4, 3), (2,)])
    theirs = [p.clone() for p in ours]
    group = {"params": ours, "adapt": False}
    lars = LARS([group], lr=1.0, weight_decay=0.02, lr_in_buffer=False, nesterov=nesterov)
    sgd = torch.optim.SGD(theirs, lr=1.0, weight_decay=0.02, momentum=0.9, nesterov=nesterov)
    run(lars, ours, grads, RATES)
    run(sgd, theirs, grads, RATES)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_lars_leaves_what_has_no_gradient() -> None:
    with_grad, without = vector(3, 4), vector(1, 2)
    optimizer = LARS([with_grad, without], lr=0.1, weight_decay=0.1)
    with_grad.grad = vector(1, 1)
    optimizer.step()
    assert without.tolist() == [1, 2]
    assert without not in optimizer.state
    assert with_grad.tolist() != [3, 4]


def test_lars_closure() -> None:
    w = nn.Parameter(vector(3, 4))
    optimizer = LARS([w], lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (w * vector(0.6, 0.8)).sum()
        loss.backward()
        return loss.detach()

    loss = optimizer.step(closure)
    assert loss is not None
    assert loss.item() == pytest.approx(5)
    # parallel to w: 0.1 * 0.001 * 5 / 1 of the gradient
    assert w.tolist() == pytest.approx([3 - 0.0003, 4 - 0.0004], rel=1e-12)


@pytest.mark.parametrize("inside", [True, False])
def test_lars_state_round_trip(inside: bool) -> None:
    shapes: list[tuple[int, ...]] = [(3,), (2, 4)]
    through, grads = random_problem(shapes)
    stopped = [p.clone() for p in through]
    make = partial(LARS, lr=1.0, weight_decay=0.01, trust="separate", lr_in_buffer=inside)
    run(make(through), through, grads, RATES)
    before = make(stopped)
    run(before, stopped, grads[:3], RATES[:3])
    after = LARS(stopped, lr=9.0)  # the saved groups replace its options
    after.load_state_dict(before.state_dict())
    run(after, stopped, grads[3:], RATES[3:])
    for a, b in zip(through, stopped, strict=True):
        assert torch.equal(a, b)


def test_lars_unknown_trust() -> None:
    with pytest.raises(UserError, match=r"^trust=seperate: must be joint or separate$"):
        LARS([vector(1)], lr=0.1, trust="seperate")  # type: ignore[arg-type]
