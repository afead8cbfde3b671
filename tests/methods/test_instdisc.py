"""InstDisc against its pseudo-code, written out in plain PyTorch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.pseudo_code import BATCH, LR, STEPS, Case, Net, Trained, batches, descend, plain, unit
from helpers.steps import HEAD, TRAIN_IMAGES, net
from ssl_zoo.losses import NCE, InfoNCE, NegativeCosine
from ssl_zoo.methods import InstDisc, Method
from ssl_zoo.modules import Identity, Linear, MemoryBank, Queue
from ssl_zoo.types import Facts, MultiViewBatch, UserError

pytestmark = pytest.mark.usefixtures("double")

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


class Pixels(nn.Flatten):
    """The image itself, two numbers."""

    num_features = 2


def by_hand(**options: float) -> float:
    """The loss of one image against a bank of four unit vectors."""
    bank, loss = partial(MemoryBank, num_negatives=None), InfoNCE(0.5)
    method = InstDisc(Pixels(), Identity, bank, loss, facts=Facts(num_images=4), **options)
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
        (Queue, InfoNCE(), {}, r"takes a memory bank, not Queue: choose other negatives$"),
        (MemoryBank, NegativeCosine(), {}, r"takes a contrastive loss, not NegativeCosine"),
        (
            MemoryBank,
            InfoNCE(),
            {"facts": Facts()},
            r"slot for each image: give facts=Facts\(num_images=\.\.\.\)$",
        ),
        (
            MemoryBank,
            InfoNCE(),
            {"proximal_weight": -1.0},
            r"^proximal_weight=-1\.0: must be at least 0$",
        ),
    ],
)
def test_instdisc_errors(
    negatives: Callable[..., nn.Module], loss: nn.Module, options: dict[str, Any], message: str
) -> None:
    facts = {"facts": Facts(num_images=9)}
    with pytest.raises(UserError, match=message):
        InstDisc(Net(), partial(Linear, out_dim=4), negatives, loss, **{**facts, **options})


# --- cases that the harness runs (helpers/method_cases.py) ---------------------------------------


def on_two(loss: Any, num_negatives: int | None) -> Method:
    bank = partial(MemoryBank, num_negatives=num_negatives)
    return InstDisc(
        net(), HEAD, bank, loss, proximal_weight=0.3, facts=Facts(num_images=TRAIN_IMAGES)
    )


TWO_PROCESSES = {
    "instdisc": partial(on_two, partial(NCE, temperature=0.5), 6),
    "instdisc_softmax": partial(on_two, InfoNCE(0.5), None),
}
RUNS_OF_TWO = {"instdisc": ["method=instdisc", "method.num_negatives=32", "callbacks=none"]}
RESUMES = {"instdisc": ["method=instdisc", "method.num_negatives=20"]}


def pseudo_code(method: Method, num_negatives: int | None, weight: float) -> Trained:
    temperature, momentum = 0.2, 0.5
    f_theta, v = plain(method), method.negatives.bank.clone()
    dice = copy.deepcopy(method.negatives)
    optimizer = torch.optim.SGD(f_theta.parameters(), lr=LR, momentum=0.9)
    losses, z = [], 0.0
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
        loss = loss + weight * proximal
        descend(optimizer, loss)
        v[index] = unit(momentum * v[index] + (1 - momentum) * f.detach())
        losses.append(loss.item())
    return losses, {"encoder": f_theta, "negatives.bank": v}


def of_pseudo_code(num_negatives: int | None, weight: float) -> Method:
    return InstDisc(
        Net(),
        partial(Linear, out_dim=4),
        partial(MemoryBank, num_negatives=num_negatives, momentum=0.5),
        InfoNCE(0.2) if num_negatives is None else partial(NCE, temperature=0.2),
        proximal_weight=weight,
        facts=Facts(num_images=IMAGES),
    )


PSEUDO_CODE = {
    f"instdisc_{negatives}_proximal_{weight}": Case(
        partial(of_pseudo_code, negatives, weight),
        partial(pseudo_code, num_negatives=negatives, weight=weight),
        instances,
    )
    for negatives in (None, 4, 50)
    for weight in (0.0, 30.0)
}
