"""MoCo, BYOL and SimSiam against their papers' pseudo-code, written out in plain PyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ssl_zoo.losses import InfoNCE, NegativeCosine, NormalizedMSE
from ssl_zoo.methods import BYOL, Method, MoCo, SimSiam
from ssl_zoo.modules import MLP, Linear, Momentum, Queue, StopGradient
from ssl_zoo.optim import warmup_cosine
from ssl_zoo.types import MultiViewBatch

STEPS, LR, BATCH = 5, 0.1, 8


class Net(nn.Sequential):
    """A small network with a batch norm, (N, 3, 6, 6) -> (N, 5)."""

    num_features = 5

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten())
        self.append(nn.Linear(20, 5))


@pytest.fixture(autouse=True)
def _double() -> object:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def batches() -> list[MultiViewBatch]:
    generator = torch.Generator().manual_seed(1)

    def images() -> Tensor:
        return torch.randn(BATCH, 3, 6, 6, generator=generator)

    index = torch.arange(BATCH)
    return [MultiViewBatch([images(), images()], index, index) for _ in range(STEPS)]


def train_ours(method: Method) -> list[float]:
    optimizer = torch.optim.SGD(method.param_groups(), lr=LR, momentum=0.9)
    losses = []
    for k, batch in enumerate(batches()):
        loss = method.step(batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.update(progress=k / STEPS)
        losses.append(loss.item())
    return losses


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("symmetric", [False, True])
def test_moco_equals_algorithm_1(symmetric: bool) -> None:
    size, momentum, temperature = 20, 0.9, 0.2  # 20 is no multiple of 8 or 16 keys
    method = MoCo(
        Net(),
        partial(Linear, out_dim=4),
        partial(Momentum, momentum=momentum),
        partial(Queue, size=size),
        InfoNCE(temperature),
        symmetric=symmetric,
    )
    f_q = nn.Sequential(method.encoder.backbone, method.encoder.projector)
    f_q = copy.deepcopy(f_q)
    f_k = copy.deepcopy(f_q)
    queue = list(method.negatives.queue.clone())  # oldest first
    expected = []
    optimizer = torch.optim.SGD(f_q.parameters(), lr=LR, momentum=0.9)
    for batch in batches():
        x1, x2 = batch.views
        loss, new_keys = torch.zeros(()), []
        pairs = [(x1, x2), (x2, x1)] if symmetric else [(x1, x2)]
        # Batch statistics do not depend on the order of these passes.
        for x_q, x_k in pairs:
            q = unit(f_q(x_q))
            with torch.no_grad():
                k = unit(f_k(x_k))
            for i in range(BATCH):
                logits = torch.stack([q[i] @ k[i], *[q[i] @ old for old in queue]]) / temperature
                loss = loss - torch.log(logits[0].exp() / logits.exp().sum()) / BATCH
            new_keys.append(k)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for p_k, p_q in zip(f_k.parameters(), f_q.parameters(), strict=True):
                p_k.copy_(momentum * p_k + (1 - momentum) * p_q)
        queue = [*queue, *torch.cat(new_keys[::-1])][-size:]  # key1, then key2
        expected.append(loss.item())

    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f_q)
    assert_same(method.target.encoder, f_k)
    pointer = int(method.negatives.pointer)
    ours = torch.cat([method.negatives.queue[pointer:], method.negatives.queue[:pointer]])
    torch.testing.assert_close(ours, torch.stack(queue), atol=1e-9, rtol=0)


def predictive(
    method_class: Callable[..., Method], target: Callable[..., nn.Module], loss: nn.Module
) -> Method:
    projector = partial(MLP, out_dim=4, hidden_dim=6)
    return method_class(Net(), projector, partial(MLP, hidden_dim=3), target, loss)


def test_byol_equals_its_pseudo_code() -> None:
    base = 0.7
    target = partial(Momentum, momentum=base, final_momentum=1.0)
    method = predictive(BYOL, target, NormalizedMSE())
    online = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    xi, q = copy.deepcopy(online), copy.deepcopy(method.predictor)
    optimizer = torch.optim.SGD([*online.parameters(), *q.parameters()], lr=LR, momentum=0.9)
    expected = []
    for k, batch in enumerate(batches()):
        x1, x2 = batch.views
        p1, p2 = q(online(x1)), q(online(x2))
        with torch.no_grad():
            z1, z2 = xi(x1), xi(x2)
        rows = (unit(p1) - unit(z2)).square().sum(1) + (unit(p2) - unit(z1)).square().sum(1)
        loss = rows.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tau = 1 - (1 - base) * (math.cos(math.pi * k / STEPS) + 1) / 2
        with torch.no_grad():
            for p_t, p_o in zip(xi.parameters(), online.parameters(), strict=True):
                p_t.copy_(tau * p_t + (1 - tau) * p_o)
        expected.append(loss.item())
    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, online)
    assert_same(method.target.encoder, xi)
    assert_same(method.predictor, q)


def test_simsiam_equals_algorithm_1() -> None:
    method = predictive(SimSiam, StopGradient, NegativeCosine())
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    h = copy.deepcopy(method.predictor)
    optimizer = torch.optim.SGD([*f.parameters(), *h.parameters()], lr=LR, momentum=0.9)
    expected = []
    for batch in batches():
        z1, z2 = f(batch.views[0]), f(batch.views[1])
        p1, p2 = h(z1), h(z2)
        d12 = -(unit(p1) * unit(z2.detach())).sum(1).mean()
        d21 = -(unit(p2) * unit(z1.detach())).sum(1).mean()
        loss = d12 / 2 + d21 / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f)
    assert_same(method.predictor, h)


def test_the_predictors_rate_is_constant() -> None:
    method = predictive(SimSiam, StopGradient, NegativeCosine())
    optimizer = torch.optim.SGD(method.param_groups(), lr=LR)
    scheduler = warmup_cosine(optimizer, total_steps=10, warmup_epochs=0, epochs=1)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"encoder": pytest.approx(0), "predictor": LR}


def test_the_target_is_not_in_the_optimizer() -> None:
    for method in (
        predictive(BYOL, Momentum, NormalizedMSE()),
        MoCo(Net(), partial(Linear, out_dim=4), Momentum, partial(Queue, size=9), InfoNCE()),
    ):
        optimized = {id(p) for group in method.param_groups() for p in group["params"]}
        assert not optimized & {id(p) for p in method.target.parameters()}
        assert optimized >= {id(p) for p in method.encoder.parameters()}


def test_momentum_schedule() -> None:
    golden = [0.996, 0.9965857864, 0.998, 0.9994142136, 1.0]  # 1 - 0.004 (cos(pi k / 4) + 1) / 2
    target = Momentum(Net(), momentum=0.996, final_momentum=1.0)
    assert [target.momentum_at(k / 4) for k in range(5)] == pytest.approx(golden, abs=1e-10)


@pytest.mark.parametrize(("momentum", "expected"), [(0.999, 1.002), (0.9, 1.2), (0.0, 3.0)])
def test_momentum_update(momentum: float, expected: float) -> None:
    online = nn.Linear(1, 1)
    target = Momentum(online, momentum=momentum)
    for p in target.encoder.parameters():
        nn.init.ones_(p)
    for p in online.parameters():
        nn.init.constant_(p, 3.0)
    target.update(online, progress=0.0)
    assert all(p.item() == pytest.approx(expected) for p in target.encoder.parameters())


def test_queue_takes_more_keys_than_it_holds_and_any_number() -> None:
    queue = Queue(dim=2, size=5)
    expected = [row.tolist() for row in queue.queue]
    for count in (3, 7, 5, 1, 12):
        keys = unit(torch.randn(count, 2))
        queue.push(keys[: count // 2], torch.arange(count // 2))  # two micro-batches, one step
        queue.push(keys[count // 2 :], torch.arange(count - count // 2))
        before = queue.queue.clone()
        assert torch.equal(queue.queue, before)  # staged keys are not negatives yet
        queue.update()
        expected = [*expected, *keys.tolist()][-5:]
        start = int(queue.pointer)
        got = [*queue.queue[start:].tolist(), *queue.queue[:start].tolist()]
        assert torch.tensor(got).allclose(torch.tensor(expected))
