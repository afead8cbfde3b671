"""MoCo against its paper's algorithm 1, written out in plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from helpers.pseudo_code import (
    BATCH,
    LR,
    Case,
    Net,
    Trained,
    assert_same,
    batches,
    descend,
    plain,
    train_ours,
    unit,
)
from helpers.steps import EMA, HEAD, INFO_NCE, QUEUED, SUBSAMPLED, TRAIN_IMAGES, Normed, net
from ssl_zoo import distributed
from ssl_zoo.losses import InfoNCE
from ssl_zoo.methods import Method, MoCo
from ssl_zoo.modules import MLP, InBatch, Linear, MemoryBank, Momentum, Queue, Shared, ShuffleBN
from ssl_zoo.types import Facts

pytestmark = pytest.mark.usefixtures("double")

SIZE, MOMENTUM, TEMPERATURE = 20, 0.9, 0.2  # 20 is no multiple of 8 or 16 keys


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


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two(
    target: Callable[..., nn.Module] = EMA,
    negatives: Callable[..., nn.Module] = QUEUED,
    loss: Callable[[], nn.Module] = INFO_NCE,
    symmetric: bool = False,
) -> Method:
    images = TRAIN_IMAGES
    return MoCo(
        net(), HEAD, target, negatives, loss(), symmetric=symmetric, facts=Facts(num_images=images)
    )


def shuffled_norms(inner: Callable[..., nn.Module], negatives: Callable[..., nn.Module]) -> Method:
    splits = 2 // distributed.world_size()  # one process splits its norms as two processes would
    target = partial(ShuffleBN, target=inner, num_splits=splits, seed=3)
    head = partial(MLP, out_dim=5)
    return MoCo(Normed(), head, target, negatives, INFO_NCE())


TWO_PROCESSES = {
    "moco": on_two,
    "moco_symmetric": partial(on_two, symmetric=True),
    "moco_shuffled": partial(on_two, partial(ShuffleBN, target=EMA), symmetric=True),
    "moco_end_to_end": partial(on_two, Shared, InBatch, symmetric=True),
    "moco_bank": partial(on_two, negatives=partial(MemoryBank, num_negatives=6), symmetric=True),
    "moco_subsampled": partial(on_two, loss=SUBSAMPLED),
    "shuffled_norms": partial(shuffled_norms, EMA, QUEUED),
    "shuffled_norms_end_to_end": partial(shuffled_norms, Shared, InBatch),
}
RUNS_OF_TWO = {"moco": ["method=moco", "method.queue_size=100", "accumulate=2", "callbacks=none"]}
RESUMES = {
    "moco": ["method=moco", "method.queue_size=100", "accumulate=2", "method.target.num_splits=4"]
}


def algorithm_1(method: Method, symmetric: bool) -> Trained:
    f_q = nn.Sequential(method.encoder.backbone, method.encoder.projector)
    f_q = copy.deepcopy(f_q)
    f_k = copy.deepcopy(f_q)
    queue = list(method.negatives.queue.clone())  # oldest first
    losses, pushed = [], 0
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
                logits = torch.stack([q[i] @ k[i], *[q[i] @ old for old in queue]]) / TEMPERATURE
                loss = loss - torch.log(logits[0].exp() / logits.exp().sum()) / BATCH
            new_keys.append(k)
        descend(optimizer, loss)
        with torch.no_grad():
            for p_k, p_q in zip(f_k.parameters(), f_q.parameters(), strict=True):
                p_k.copy_(MOMENTUM * p_k + (1 - MOMENTUM) * p_q)
        queue = [*queue, *torch.cat(new_keys[::-1])][-SIZE:]  # key1, then key2
        pushed += BATCH * len(pairs)
        losses.append(loss.item())
    ring = torch.stack(queue).roll(pushed % SIZE, dims=0)
    return losses, {"encoder": f_q, "target.encoder": f_k, "negatives.queue": ring}


def of_algorithm_1(symmetric: bool) -> Method:
    target, queue = partial(Momentum, momentum=MOMENTUM), partial(Queue, size=SIZE)
    projector, loss = partial(Linear, out_dim=4), InfoNCE(TEMPERATURE)
    return MoCo(Net(), projector, target, queue, loss, symmetric=symmetric)


PSEUDO_CODE = {
    name: Case(partial(of_algorithm_1, symmetric), partial(algorithm_1, symmetric=symmetric))
    for name, symmetric in (("moco", False), ("moco_symmetric", True))
}
