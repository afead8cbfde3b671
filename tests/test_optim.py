"""LARS against a scalar loop and hand-computed steps; schedules; what is decayed."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_zoo.optim import LARS, build_optimizer, constant, cosine_by_epoch, multistep, warmup_cosine
from ssl_zoo.optim.param_groups import split_decay
from ssl_zoo.optim.schedules import cosine_factor
from ssl_zoo.types import UserError

VARIANTS = [
    {"trust": trust, "lr_in_buffer": inside, "nesterov": nesterov}
    for trust, inside, nesterov in itertools.product(
        ("joint", "separate"), (True, False), (True, False)
    )
]
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
    decay: float = 0.01,
    momentum: float = 0.9,
    coefficient: float = 0.001,
    adapt: bool = True,
) -> list[float]:
    """LARS on one tensor, number by number."""
    w, v = list(w), [0.0] * len(w)
    for g, lr in zip(grads, rates, strict=True):
        d = [gi + decay * wi for gi, wi in zip(g, w, strict=True)]
        below = norm(d) if trust == "joint" else norm(g) + decay * norm(w)
        q = coefficient * norm(w) / below if adapt and norm(w) > 0 and below > 0 else 1.0
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


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- LARS ---------------------------------------------------------------------------------------


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
    with pytest.raises(UserError, match="trust=seperate"):
        LARS([vector(1)], lr=0.1, trust="seperate")  # type: ignore[arg-type]


# --- schedules ----------------------------------------------------------------------------------


def rates(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """The groups' rates at each step."""
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def two_groups() -> torch.optim.Optimizer:
    groups = [
        {"params": [vector(1)], "lr": 0.3},
        {"params": [vector(1)], "lr": 0.7, "constant_lr": True},
    ]
    return torch.optim.SGD(groups, lr=1.0)


def closed_form(step: int, total: int, warm: int, final: float = 0.0) -> float:
    if step < warm:
        return step / warm
    angle = math.pi * (step - warm) / (total - warm)
    return final + (1 - final) * (1 + math.cos(angle)) / 2


def test_cosine_factor() -> None:
    for total, warm, final in ((100, 10, 0.0), (97657, 976, 0.0), (40, 0, 0.1), (7, 7, 0.0)):
        for step in {0, 1, warm - 1, warm, warm + 1, total // 2, total - 1} - {-1, total}:
            expected = closed_form(step, total, warm, final) if step < total else final
            assert cosine_factor(step, total, warm, final) == pytest.approx(expected, abs=1e-14)
        if warm < total:
            assert cosine_factor(warm, total, warm, final) == 1
            for late in (total, total + 5):
                assert cosine_factor(late, total, warm, final) == pytest.approx(final, abs=1e-15)


def test_cosine_by_hand() -> None:
    by_hand = [0.05, 0.04267766953, 0.025, 0.00732233047]
    assert [0.05 * cosine_factor(e, 4, 0) for e in range(4)] == pytest.approx(by_hand)
    from_one = [0.05121320344, 0.03, 0.008786796564, 0.0]
    assert [0.06 * cosine_factor(e, 4, 0) for e in range(1, 5)] == pytest.approx(from_one)


@pytest.mark.parametrize(
    ("total", "epochs", "warmup_epochs", "warm"),
    [
        (97657, 1000, 10, 976),  # SimCLR's code: CIFAR-10 at batch 512
        (31279, 100, 10, 3127),  # ImageNet at batch 4096
        (840, 12, 0.05 * 12, 42),
        (700, 7, 0.05 * 7, 35),
        (300, 3, 0.0, 0),
        (30, 3, 3.0, 30),
    ],
)
def test_warmup_steps(total: int, epochs: float, warmup_epochs: float, warm: int) -> None:
    optimizer = two_groups()
    scheduler = warmup_cosine(optimizer, total, warmup_epochs, epochs)
    factor = scheduler.lr_lambdas[0]
    for step in (0, 1, warm // 2, max(0, warm - 1), warm, total - 1):
        if step < total:
            expected = closed_form(step, total, warm) if warm < total else step / warm
            assert factor(step) == pytest.approx(expected, abs=1e-12)


def test_warmup_cosine_by_step_and_constant_groups() -> None:
    optimizer = two_groups()
    scheduler = warmup_cosine(optimizer, total_steps=40, warmup_epochs=2, epochs=8, final=0.01)
    seen = rates(optimizer, scheduler, 41)
    expected = [0.3 * closed_form(step, 40, 10, 0.01) for step in range(41)]
    assert [lr for lr, _ in seen] == pytest.approx(expected, rel=1e-12)
    assert seen[0][0] == 0
    assert seen[40][0] == pytest.approx(0.003)
    assert {lr for _, lr in seen} == {0.7}


def test_warmup_longer_than_the_run() -> None:
    with pytest.raises(UserError, match=r"scheduler.warmup_epochs=10 .* epochs=5"):
        warmup_cosine(two_groups(), 100, warmup_epochs=10, epochs=5)


@pytest.mark.parametrize(
    ("base_lr", "first_epoch", "golden"),
    [
        (0.05, 0, [0.05, 0.04267766953, 0.025, 0.00732233047]),  # SimSiam's code
        (0.06, 1, [0.05121320344, 0.03, 0.008786796564, 0.0]),  # MoCo's notebook
    ],
)
def test_cosine_by_epoch(base_lr: float, first_epoch: int, golden: list[float]) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base_lr)
    scheduler = cosine_by_epoch(optimizer, total_steps=12, epochs=4, first_epoch=first_epoch)
    rates = []
    for _ in range(12):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([lr for lr in golden for _ in range(3)], abs=1e-10)


def test_multistep() -> None:
    optimizer = two_groups()
    scheduler = multistep(optimizer, total_steps=600, milestones=[120, 160], epochs=200)
    seen = rates(optimizer, scheduler, 600)
    expected = [0.3] * 360 + [0.03] * 120 + [0.003] * 120
    assert [lr for lr, _ in seen] == pytest.approx(expected, rel=1e-12)
    assert {lr for _, lr in seen} == {0.7}


def test_constant() -> None:
    optimizer = two_groups()
    assert rates(optimizer, constant(optimizer, 3), 5) == [[0.3, 0.7]] * 5


# --- parameter groups ---------------------------------------------------------------------------


def small_net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2)
    )
    for p in net.parameters():
        nn.init.uniform_(p, 0.5, 1.0)
    return net


def method_groups(net: nn.Sequential) -> list[dict[str, Any]]:
    """Two groups, as a method with a predictor has; one parameter is frozen."""
    net[3].bias.requires_grad_(False)
    encoder = [*net[0].parameters(), *net[1].parameters()]
    predictor = [*net[3].parameters(), *net[4].parameters()]
    return [
        {"name": "encoder", "params": encoder, "constant_lr": False},
        {"name": "predictor", "params": predictor, "constant_lr": True},
    ]


def test_split_decay() -> None:
    net = small_net()
    groups = split_decay(method_groups(net), 0.1)
    expected = [
        ("encoder", False, 0.1, True, [net[0].weight]),
        ("encoder_no_decay", False, 0.0, False, [net[0].bias, net[1].weight, net[1].bias]),
        ("predictor", True, 0.1, True, [net[3].weight]),
        ("predictor_no_decay", True, 0.0, False, [net[4].weight, net[4].bias]),
    ]
    assert len(groups) == len(expected)
    for group, (name, constant_lr, decay, adapt, params) in zip(groups, expected, strict=True):
        assert group["name"] == name
        assert group["constant_lr"] is constant_lr
        assert group["weight_decay"] == decay
        assert group["adapt"] is adapt
        assert [id(p) for p in group["params"]] == [id(p) for p in params]


def test_empty_groups_are_left_out() -> None:
    only_matrix = [{"name": "all", "params": [nn.Parameter(torch.ones(2, 2))]}]
    assert [g["name"] for g in split_decay(only_matrix, 0.1)] == ["all"]
    only_bias = [{"name": "all", "params": [nn.Parameter(torch.ones(2))]}]
    assert [g["name"] for g in split_decay(only_bias, 0.1)] == ["all_no_decay"]


FACTORIES = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adamw": partial(torch.optim.AdamW, lr=0.1),
    "lars": partial(LARS, lr=0.1),
}


@pytest.mark.parametrize("name", FACTORIES)
def test_adapt_is_for_lars_alone(name: str) -> None:
    optimizer = build_optimizer(method_groups(small_net()), FACTORIES[name], 0.1)
    adapt = [group.get("adapt") for group in optimizer.param_groups]
    assert adapt == ([True, False, True, False] if name == "lars" else [None] * 4)
    assert [g["constant_lr"] for g in optimizer.param_groups] == [False, False, True, True]


@pytest.mark.parametrize("exclude", [True, False])
@pytest.mark.parametrize(("name", "shrink"), [("sgd", 0.05), ("adamw", 0.05), ("lars", 1e-4)])
def test_decay_alone_shrinks_matrices_alone(name: str, shrink: float, exclude: bool) -> None:
    net = small_net()
    before = {key: p.detach().clone() for key, p in net.named_parameters()}
    groups = [{"name": "all", "params": list(net.parameters()), "constant_lr": False}]
    optimizer = build_optimizer(groups, FACTORIES[name], 0.5, exclude_bias_and_norm=exclude)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for key, p in net.named_parameters():
        # lr * decay, and lr * trust coefficient for LARS, whose ratio cancels the decay
        factor = 1 - shrink if p.ndim > 1 or not exclude else 1.0
        torch.testing.assert_close(p.detach(), before[key] * factor)
        assert torch.equal(p.detach(), before[key]) == (factor == 1)


def test_everything_decayed() -> None:
    groups = method_groups(small_net())
    optimizer = build_optimizer(groups, FACTORIES["lars"], 0.5, exclude_bias_and_norm=False)
    assert [g["name"] for g in optimizer.param_groups] == ["encoder", "predictor"]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.5]
    assert all(g["adapt"] for g in optimizer.param_groups)
