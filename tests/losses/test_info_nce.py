"""InfoNCE against hand-computed values and a python loop over the formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from helpers.contrastive import INF, VIEW_1, VIEW_2, both_views, mean, random_similarities
from ssl_zoo.losses import InfoNCE
from ssl_zoo.modules import InBatch

NT_XENT = {  # temperature: loss of the rows of view 1, of view 2, of all
    0.5: (0.6271230573, 1.114304457, 0.8707137571),
    0.1: (0.1272234419, 1.806380017, 0.9668017297),
    0.07: (0.05585420206, 2.387857765, 1.221855983),
    1.0: (0.8189247159, 1.096022814, 0.9574737647),
}

QUERY, KEY = [1.0, 0.0], [0.8, 0.6]

QUEUE = [[0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]]

IN_BATCH = {0.5: 0.5130152524, 0.2: 0.3132616875}  # view 1 against the other image's view 2

MOCO = {0.07: 0.05585420206, 0.2: 0.326651665, 1.0: 0.8892724452}


def loop(pos: Tensor, neg: Tensor, temperature: float) -> list[float]:
    """-log(exp(p/t) / sum(exp(s/t))) of each row; the largest term is taken out of the sum."""
    losses = []
    for p, row in zip(pos.double().tolist(), neg.double().tolist(), strict=True):
        logits = [s / temperature for s in [p, *row] if s != -INF]
        top = max(logits)
        total = sum(math.exp(logit - top) for logit in logits)
        losses.append(top + math.log(total) - p / temperature)
    return losses


@pytest.mark.parametrize("temperature", IN_BATCH)
def test_one_direction_by_hand(temperature: float) -> None:
    view1, view2 = (torch.tensor(v, dtype=torch.float64) for v in (VIEW_1, VIEW_2))
    pos, neg = InBatch().negatives(query=view1, key=view2, index=torch.arange(2))
    loss = InfoNCE(temperature)(pos=pos, neg=neg).item()
    assert loss == pytest.approx(IN_BATCH[temperature], abs=1e-9)


def nt_xent(view1: Tensor, view2: Tensor, temperature: float) -> Tensor:
    loss: Tensor = InfoNCE(temperature)(*both_views(view1, view2))
    return loss


def random_views(n: int = 6, dim: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, n, dim, generator=generator, dtype=torch.float64)
    return z[0], z[1]


@pytest.mark.parametrize("temperature", NT_XENT)
def test_nt_xent_by_hand(temperature: float) -> None:
    first, second, whole = NT_XENT[temperature]
    view1 = torch.tensor(VIEW_1, dtype=torch.float64)
    view2 = torch.tensor(VIEW_2, dtype=torch.float64)
    pos, neg = both_views(view1, view2)
    loss = InfoNCE(temperature)
    rows = [loss(pos[i : i + 1], neg[i : i + 1]).item() for i in range(4)]
    assert rows == pytest.approx([first, first, second, second], rel=1e-9)
    assert loss(pos, neg).item() == pytest.approx(whole, rel=1e-9)
    single = nt_xent(view1.float(), view2.float(), temperature)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("temperature", MOCO)
def test_moco_by_hand(temperature: float) -> None:
    query, key, queue = (torch.tensor(x, dtype=torch.float64) for x in (QUERY, KEY, QUEUE))
    loss = InfoNCE(temperature)((query @ key)[None], (queue @ query)[None])
    assert loss.item() == pytest.approx(MOCO[temperature], rel=1e-9)


@pytest.mark.parametrize("size", [2, 256])
def test_collapsed_embeddings_cost_the_log_of_the_number_of_keys(size: int) -> None:
    same = torch.ones(size, 3, dtype=torch.float64)
    expected = {2: 1.098612289, 256: 6.23636959}[size]
    assert nt_xent(same, same, 0.1).item() == pytest.approx(expected, rel=1e-9)
    for keys, loss in ((65536, 11.09037015), (4096, 8.318010278)):
        queue = InfoNCE(0.07)(torch.ones(1).double(), torch.ones(1, keys).double())
        assert queue.item() == pytest.approx(loss, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.001, 0.01, 0.07, 0.1, 0.5, 1.0, 10.0, 100.0])
def test_equals_loop(temperature: float) -> None:
    pos, neg = random_similarities()
    expected = mean(loop(pos, neg, temperature))
    assert InfoNCE(temperature)(pos, neg).item() == pytest.approx(expected, abs=1e-10, rel=1e-12)


def test_nt_xent_equals_loop_over_pairs() -> None:
    view1, view2 = random_views()
    z = functional.normalize(torch.cat([view1, view2]), dim=1)
    n, terms = len(view1), []
    for i in range(2 * n):
        others = [math.exp(float(z[i] @ z[k]) / 0.3) for k in range(2 * n) if k != i]
        positive = math.exp(float(z[i] @ z[(i + n) % (2 * n)]) / 0.3)
        terms.append(-math.log(positive / sum(others)))
    assert nt_xent(view1, view2, 0.3).item() == pytest.approx(mean(terms), abs=1e-10)


def test_dot_products_equal_loop() -> None:
    view1, view2 = random_views()
    pos, neg = InBatch(normalize=False).negatives(view1, view2, torch.arange(6))
    for i in range(6):
        assert pos[i].item() == pytest.approx(float(view1[i] @ view2[i]))
        for k in range(6):
            expected = -INF if i == k else float(view1[i] @ view2[k])
            assert neg[i, k].item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.001, 0.1, 100.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype, temperature: float) -> None:
    pos, neg = (x.to(dtype) for x in random_similarities())
    neg[0, :4] = -INF
    loss = InfoNCE(temperature)(pos, neg)
    assert loss.dtype == torch.float32
    expected = mean(loop(pos, neg, temperature))
    assert loss.item() == pytest.approx(expected, rel=3e-7, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.001, 0.1, 100.0])
def test_gradient_is_finite_and_sums_to_zero(temperature: float) -> None:
    pos, neg = (x.float().requires_grad_() for x in random_similarities())
    InfoNCE(temperature)(pos, neg).backward()
    assert pos.grad is not None
    assert neg.grad is not None
    assert pos.grad.isfinite().all()
    assert neg.grad.isfinite().all()
    # softmax minus one-hot: what repels equals what attracts, row by row
    rows = pos.grad + neg.grad.sum(dim=1)
    torch.testing.assert_close(rows, torch.zeros(5), atol=1e-6 / temperature, rtol=0)


def test_gradcheck() -> None:
    pos, neg = (x.requires_grad_() for x in random_similarities(3, 4))
    assert torch.autograd.gradcheck(InfoNCE(0.2), (pos, neg))
    view1, view2 = (x.requires_grad_() for x in random_views(3, 4))
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.2), (view1, view2))


def test_minus_infinity_is_no_negative() -> None:
    pos, neg = random_similarities()
    absent = torch.rand(neg.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    absent[0] = True  # a query without any negative
    masked = neg.masked_fill(absent, -INF).requires_grad_()
    pos.requires_grad_()
    loss = InfoNCE(0.1)
    value = loss(pos, masked)
    assert value.item() == pytest.approx(mean(loop(pos, masked, 0.1)), abs=1e-10)
    assert loss(pos[:1], masked[:1]).item() == 0
    value.backward()
    assert pos.grad is not None
    assert masked.grad is not None
    assert pos.grad.isfinite().all()
    assert (masked.grad[absent] == 0).all()
    assert (masked.grad[~absent] > 0).all()


def test_no_negatives_at_all() -> None:
    assert InfoNCE(0.1)(torch.tensor([0.3, -0.7]), torch.empty(2, 0)).item() == 0


def test_invariances() -> None:
    view1, view2 = random_views()
    value = nt_xent(view1, view2, 0.1).item()
    generator = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    scale = torch.rand(6, 1, generator=generator, dtype=torch.float64) * 9 + 0.1
    order = torch.randperm(6, generator=generator)
    for a, b in (
        (view1 @ rotation, view2 @ rotation),
        (view1 * scale, view2 * scale.flip(0)),
        (view1[order], view2[order]),
        (view2, view1),
    ):
        assert nt_xent(a, b, 0.1).item() == pytest.approx(value, abs=1e-10)
    assert nt_xent(view1, view2[order], 0.1).item() != pytest.approx(value, abs=1e-3)


def test_gradient_reaches_both_sides_of_the_dictionary() -> None:
    query, key = (x.requires_grad_() for x in random_views())
    InfoNCE(0.1)(*InBatch().negatives(query, key, torch.arange(6))).backward()
    assert query.grad is not None
    assert key.grad is not None
    assert (query.grad.norm(dim=1) > 0).all()
    assert (key.grad.norm(dim=1) > 0).all()


def test_same_image_is_no_negative() -> None:
    query, key = random_views()
    index = torch.tensor([7, 3, 7, 5, 3, 7])
    _, neg = InBatch().negatives(query, key, index)
    assert torch.equal(neg == -INF, index[:, None] == index[None, :])
