"""The methods against their papers' pseudo-code, written out in plain PyTorch."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_zoo.losses import NCE, InfoNCE, NegativeCosine, NormalizedMSE
from ssl_zoo.methods import BYOL, InstDisc, Method, MoCo, SimCLR, SimSiam
from ssl_zoo.modules import (
    MLP,
    Identity,
    InBatch,
    Lagged,
    Linear,
    MemoryBank,
    Momentum,
    Queue,
    Shared,
    ShuffleBN,
    StopGradient,
)
from ssl_zoo.optim import warmup_cosine
from ssl_zoo.types import MultiViewBatch, UserError

pytestmark = pytest.mark.usefixtures("double")

STEPS, LR, BATCH = 5, 0.1, 8


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


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train_ours(method: Method, data: list[MultiViewBatch] | None = None) -> list[float]:
    optimizer = torch.optim.SGD(method.param_groups(), lr=LR, momentum=0.9)
    losses = []
    for k, batch in enumerate(data or batches()):
        loss = method.step(batch).loss
        descend(optimizer, loss)
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


def repelled_by_the_other_view(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    """NT-Xent whose denominators hold the N embeddings of the other view alone."""
    total = torch.zeros(())
    for i in range(BATCH):
        for u, others in ((z1[i], z2), (z2[i], z1)):
            terms = [(u @ v / temperature).exp() for v in others]
            total = total - (terms[i] / torch.stack(terms).sum()).log()
    return total / (2 * BATCH)


def test_simclr_with_negatives_of_the_other_view_alone() -> None:
    temperature = 0.3
    loss = InfoNCE(temperature)
    projector = partial(Linear, out_dim=4)
    method = SimCLR(Net(), projector, InBatch, loss, same_view_negatives=False)
    f = plain(method)
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    expected = []
    for batch in batches():
        z1, z2 = unit(f(torch.cat(batch.views))).chunk(2)  # both views share batch statistics
        loss = repelled_by_the_other_view(z1, z2, temperature)
        descend(optimizer, loss)
        expected.append(loss.item())
    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f)


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
        descend(optimizer, loss)
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


def halves(net: nn.Module, x: Tensor) -> Tensor:
    """What two devices without SyncBN make of a batch."""
    return torch.cat([net(x[: BATCH // 2]), net(x[BATCH // 2 :])])


def recorded(encoder: nn.Module) -> list[Tensor]:
    """The views that an encoder will be given, call by call."""
    views: list[Tensor] = []
    encoder.register_forward_pre_hook(lambda module, inputs: views.append(inputs[0]))
    return views


def order_of(shuffled: Tensor, views: Tensor) -> Tensor:
    """Which row of the views each shuffled row is."""
    order = (shuffled[:, None] == views[None]).flatten(2).all(dim=2).nonzero()[:, 1]
    assert sorted(order.tolist()) == list(range(BATCH)) != order.tolist()
    return order


def test_moco_with_shuffled_split_norms() -> None:
    size, momentum, temperature = 20, 0.9, 0.2
    target = partial(ShuffleBN, target=partial(Momentum, momentum=momentum), num_splits=2)
    queue_of_20 = partial(Queue, size=size)
    method = MoCo(Net(), partial(Linear, out_dim=4), target, queue_of_20, InfoNCE(temperature))
    f_q, f_k, queue = plain(method), plain(method), method.negatives.queue.clone()
    views_of_keys = recorded(method.target.target.encoder)
    losses = train_ours(method)
    optimizer = torch.optim.SGD(f_q.parameters(), lr=LR, momentum=0.9)
    expected = []
    for batch, shuffled in zip(batches(), views_of_keys, strict=True):
        x_q, x_k = batch.views
        order = order_of(shuffled, x_k)
        q, k = unit(halves(f_q, x_q)), torch.empty(BATCH, 4)
        with torch.no_grad():
            k[order] = unit(halves(f_k, x_k[order]))
        logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ queue.T], dim=1) / temperature
        loss = nn.functional.cross_entropy(logits, torch.zeros(BATCH, dtype=torch.long))
        descend(optimizer, loss)
        with torch.no_grad():
            for p_k, p_q in zip(f_k.parameters(), f_q.parameters(), strict=True):
                p_k.copy_(momentum * p_k + (1 - momentum) * p_q)
        queue = torch.cat([queue, k])[-size:]
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f_q)
    assert_same(method.target.target.encoder, f_k)


@pytest.mark.parametrize("shuffle", [False, True])
def test_moco_end_to_end(shuffle: bool) -> None:
    temperature = 0.2
    target = partial(ShuffleBN, target=Shared, num_splits=2) if shuffle else Shared
    method = MoCo(Net(), partial(Linear, out_dim=4), target, InBatch, InfoNCE(temperature))
    f = plain(method)
    views = recorded(method.encoder)  # of queries and keys in turn
    losses = train_ours(method)
    optimizer = torch.optim.SGD(f.parameters(), lr=LR, momentum=0.9)
    expected = []
    for step, batch in enumerate(batches()):
        x_q, x_k = batch.views
        if shuffle:
            order = order_of(views[2 * step + 1], x_k)
            q, k = unit(halves(f, x_q)), unit(halves(f, x_k[order]))[order.argsort()]
        else:
            q, k = unit(f(x_q)), unit(f(x_k))
        loss = nn.functional.cross_entropy(q @ k.T / temperature, torch.arange(BATCH))
        descend(optimizer, loss)
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f)


# --- InstDisc -----------------------------------------------------------------------------------

IMAGES = 20  # slots of the bank


def instances() -> list[MultiViewBatch]:
    """One view of each image; most images come again in a later batch."""
    generator = torch.Generator().manual_seed(2)
    order = [torch.randperm(IMAGES, generator=generator)[:BATCH] for _ in range(STEPS)]
    pairs = zip(batches(), order, strict=True)
    return [MultiViewBatch(batch.views[:1], index, index) for batch, index in pairs]


def full_softmax(exp_scores: Tensor, index: Tensor) -> Tensor:
    """-log P(i | f_i), the denominator over the whole bank."""
    total = torch.zeros(())
    for row, i in zip(exp_scores, index, strict=True):
        total = total - (row[i] / row.sum()).log()
    return total / BATCH


def nce(exp_scores: Tensor, index: Tensor, drawn: Tensor, z: float) -> Tensor:
    """-log h(i) - sum over the drawn slots of log(1 - h), as the official code has it."""
    total, noise, eps = torch.zeros(()), drawn.shape[1] / IMAGES, 1e-7
    for row, i, slots in zip(exp_scores, index, drawn, strict=True):
        p = row[i] / z
        total = total - (p / (p + noise + eps)).log()
        for j in slots:
            total = total - (noise / (row[j] / z + noise + eps)).log()
    return total / BATCH


@pytest.mark.parametrize("proximal_weight", [0.0, 30.0])
@pytest.mark.parametrize("num_negatives", [None, 4, 50])
def test_instdisc_equals_its_pseudo_code(num_negatives: int | None, proximal_weight: float) -> None:
    temperature, momentum = 0.2, 0.5
    method = InstDisc(
        Net(),
        partial(Linear, out_dim=4),
        partial(MemoryBank, num_negatives=num_negatives, momentum=momentum),
        InfoNCE(temperature) if num_negatives is None else partial(NCE, temperature=temperature),
        proximal_weight=proximal_weight,
        num_images=IMAGES,
    )
    f_theta, v = plain(method), method.negatives.bank.clone()
    dice = copy.deepcopy(method.negatives)
    optimizer = torch.optim.SGD(f_theta.parameters(), lr=LR, momentum=0.9)
    expected, z = [], 0.0
    for step, batch in enumerate(instances()):
        index = batch.index
        f = unit(f_theta(batch.views[0]))
        exp_scores = (f @ v.T / temperature).exp()
        if num_negatives is None:
            loss = full_softmax(exp_scores, index)
        else:
            dice.steps.fill_(step)
            drawn = dice._draw(index, num_negatives)
            if step == 0:  # a constant from then on
                columns = torch.cat([index[:, None], drawn], dim=1)
                z = IMAGES * exp_scores.gather(1, columns).mean().item()
            loss = nce(exp_scores, index, drawn, z)
        proximal = (v[index] - f).square().sum(dim=1).mean()
        loss = loss + proximal_weight * proximal
        descend(optimizer, loss)
        v[index] = unit(momentum * v[index] + (1 - momentum) * f.detach())
        expected.append(loss.item())
    assert train_ours(method, instances()) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f_theta)
    torch.testing.assert_close(method.negatives.bank, v, atol=1e-9, rtol=0)


class Pixels(nn.Flatten):
    """The image itself, two numbers."""

    num_features = 2


def by_hand(**options: float) -> float:
    """The loss of one image against a bank of four unit vectors."""
    bank, loss = partial(MemoryBank, num_negatives=None), InfoNCE(0.5)
    method = InstDisc(Pixels(), Identity, bank, loss, num_images=4, **options)
    method.negatives.bank.copy_(torch.tensor([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]]))
    image, index = torch.tensor([0.8, 0.6]).view(1, 2, 1, 1), torch.tensor([0])
    return method.step(MultiViewBatch([image], index, index)).loss.item()


def test_instdisc_by_hand() -> None:
    assert by_hand() == pytest.approx(1.12759164, abs=1e-8)
    # |(1, 0) - (0.8, 0.6)|^2 = 0.4
    assert by_hand(proximal_weight=30.0) - by_hand() == pytest.approx(12.0, abs=1e-9)


@pytest.mark.parametrize(
    ("negatives", "loss", "options", "message"),
    [
        (Queue, InfoNCE(), {}, r"takes a memory bank, not Queue: see method/negatives"),
        (MemoryBank, NegativeCosine(), {}, r"takes a contrastive loss, not NegativeCosine"),
        (MemoryBank, InfoNCE(), {"num_images": None}, r"give the method num_images"),
        (MemoryBank, InfoNCE(), {"proximal_weight": -1.0}, r"proximal_weight=-1\.0 must be"),
    ],
)
def test_instdisc_errors(
    negatives: Callable[..., nn.Module], loss: nn.Module, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        InstDisc(Net(), partial(Linear, out_dim=4), negatives, loss, **{"num_images": 9, **options})


# --- methods with a predictor -------------------------------------------------------------------


def predictive(
    method_class: Callable[..., Method],
    target: Callable[..., nn.Module],
    loss: nn.Module,
    **shared: int,
) -> Method:
    projector = partial(MLP, out_dim=4, hidden_dim=6)
    return method_class(Net(), projector, partial(MLP, hidden_dim=3), target, loss, **shared)


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
        descend(optimizer, loss)
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
        descend(optimizer, loss)
        expected.append(loss.item())
    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f)
    assert_same(method.predictor, h)


@pytest.mark.parametrize(
    ("every", "steps_per_epoch", "steps"),
    [(1, 4, 1), (2, 4, 2), (3, 4, 3), ("epoch", 2, 2), ("epoch", 3, 3)],
)
def test_simsiam_alternates(every: int | str, steps_per_epoch: int, steps: int) -> None:
    target = partial(Lagged, every=every)
    method = predictive(SimSiam, target, NegativeCosine(), steps_per_epoch=steps_per_epoch)
    f = copy.deepcopy(nn.Sequential(method.encoder.backbone, method.encoder.projector))
    h, eta = copy.deepcopy(method.predictor), copy.deepcopy(f)
    optimizer = torch.optim.SGD([*f.parameters(), *h.parameters()], lr=LR, momentum=0.9)
    expected = []
    for step, (views, *_) in enumerate(batches(), start=1):
        p1, p2 = h(f(views[0])), h(f(views[1]))
        with torch.no_grad():
            z1, z2 = eta(views[0]), eta(views[1])
        d12, d21 = (-(unit(p) * unit(z)).sum(1).mean() for p, z in ((p1, z2), (p2, z1)))
        loss = d12 / 2 + d21 / 2
        descend(optimizer, loss)
        if step % steps == 0:
            eta = copy.deepcopy(f)
        expected.append(loss.item())
    assert train_ours(method) == pytest.approx(expected, abs=1e-9)
    assert_same(method.encoder, f)
    assert_same(method.predictor, h)


def test_a_lag_of_one_step_is_a_stopped_gradient() -> None:
    methods = []
    for target in (StopGradient, Lagged):
        torch.manual_seed(0)
        methods.append(predictive(SimSiam, target, NegativeCosine()))
    losses = [train_ours(method) for method in methods]
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)
    assert_same(methods[0].encoder, methods[1].encoder)
    assert_same(methods[0].predictor, methods[1].predictor)


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
