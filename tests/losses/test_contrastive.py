"""The contrastive losses beside InfoNCE against loops over their formulas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from helpers.contrastive import (
    CASES,
    INF,
    LOSSES,
    both_views,
    golden_views,
    random_similarities,
    rows,
    with_gaps,
)
from ssl_zoo.losses import (
    NCE,
    ContrastiveMargin,
    FaceNetTriplet,
    InfoNCE,
    MarginTriplet,
    NPair,
    NTLogistic,
)
from ssl_zoo.modules import InBatch
from ssl_zoo.types import Facts, UserError

# --- the formulas, pair by pair -----------------------------------------------------------------


@LOSSES
def test_equals_loop(name: str) -> None:
    make, loop = CASES[name]
    for pos, neg in (random_similarities(), with_gaps()):
        assert make().double()(pos=pos, neg=neg).item() == pytest.approx(
            loop(rows(pos, neg)), abs=1e-10
        )


@LOSSES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_computes_in_float32(name: str, dtype: torch.dtype) -> None:
    make, loop = CASES[name]
    pos, neg = (x.to(dtype) for x in with_gaps())
    loss = make()(pos, neg)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(loop(rows(pos, neg)), rel=2e-6)


@LOSSES
def test_gradcheck(name: str) -> None:
    pos, neg = (x.requires_grad_() for x in random_similarities(4, 5))
    loss = CASES[name][0]().double()
    loss(pos, neg)  # NCE's Z is estimated now, and constant from here
    assert torch.autograd.gradcheck(loss, (pos, neg))


@LOSSES
def test_what_is_no_negative_has_no_gradient(name: str) -> None:
    pos, neg = with_gaps()
    pos, neg = pos.requires_grad_(), neg.requires_grad_()
    loss = CASES[name][0]().double()
    loss(pos, neg).backward()
    assert pos.grad is not None
    assert neg.grad is not None
    assert pos.grad.isfinite().all()
    assert (neg.grad[neg == -INF] == 0).all()
    assert (neg.grad >= 0).all()
    assert neg.grad.max() > 0
    assert (pos.grad <= 0).all()


@LOSSES
def test_no_negatives_at_all(name: str) -> None:
    pos = torch.tensor([0.3, -0.7]).requires_grad_()
    loss = CASES[name][0]()
    if isinstance(loss, NCE):  # cannot estimate Z from nothing
        loss(torch.zeros(2), torch.zeros(2, 3))
    for neg in (torch.empty(2, 0), torch.full((2, 3), -INF)):
        value = loss(pos, neg)
        value.backward()
        assert value.isfinite()
        assert pos.grad is not None
        assert pos.grad.isfinite().all()


@LOSSES
def test_a_nan_similarity_is_not_dropped(name: str) -> None:
    pos, neg = random_similarities()
    loss = CASES[name][0]()
    loss(pos, neg)
    for where in (pos[:1], neg[:1, :1]):
        before = where.clone()
        where.fill_(float("nan"))
        assert loss(pos, neg).isnan()
        where.copy_(before)


# --- by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (NTLogistic(0.5), 1.007386785),
        (NTLogistic(0.5, "reweight"), 1.603030548),
        (MarginTriplet(0.4), 0.24),
        (MarginTriplet(0.8), 0.54),
        (MarginTriplet(0.4, "semi_hard"), 0.2),
        (MarginTriplet(0.8, "semi_hard"), 0.6),
        (MarginTriplet(0.4, "semi_hard_wide"), 0.24),
        # 0.96 is above 0.8 + 0.1: the mean of 0, 0, 0, 0, 0, 0
        (MarginTriplet(0.1, "semi_hard_wide"), 0.0),
        (MarginTriplet(0.1), 2 * 0.26 / 8),
    ],
)
def test_two_images_by_hand(loss: nn.Module, expected: float) -> None:
    pos, neg = both_views(*golden_views())
    assert loss(pos, neg).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_npair_by_hand() -> None:
    queries = torch.tensor([[1.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    keys = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    similarities = InBatch(normalize=False).negatives(queries, keys, torch.arange(2))
    assert NPair()(*similarities).item() == pytest.approx(0.3556485542, rel=1e-9)
    tuplet = NPair()(torch.tensor([3.0]).double(), torch.tensor([[2.0, 1.0]]).double())
    assert tuplet.item() == pytest.approx(0.4076059644, rel=1e-9)


# --- relations between the losses ---------------------------------------------------------------


def test_npair_is_infonce_at_temperature_1() -> None:
    pos, neg = with_gaps()
    assert NPair()(5 * pos, 5 * neg).item() == pytest.approx(
        InfoNCE(1.0)(5 * pos, 5 * neg).item(), abs=1e-12
    )


# --- temperatures and margins -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InfoNCE(0.0), r"^temperature=0\.0: must be above 0$"),
        (lambda: NTLogistic(-1.0), r"^temperature=-1\.0: must be above 0$"),
        (lambda: NTLogistic(float("nan")), r"^temperature=nan: must be above 0$"),
        (lambda: NCE(Facts(10), 0.0), r"^temperature=0\.0: must be above 0$"),
        (lambda: NCE(Facts(0)), r"^facts\.num_images=0: must be at least 1$"),
        (lambda: NCE(Facts(10), eps=-1.0), r"^eps=-1\.0: must be at least 0$"),
        (lambda: NCE(Facts(10), z="exact"), r"^z=exact: must be one of code, paper$"),
        (lambda: NTLogistic(mode="none"), r"^mode=none: must be one of .* subsample, reweight"),
        (
            lambda: NTLogistic(num_subsampled=0),
            r"^num_subsampled=0: must be a whole number",
        ),
        (
            lambda: NTLogistic(mode="semi_hard", margin=-0.1),
            r"^margin=-0\.1: must be above 0$",
        ),
        (lambda: MarginTriplet(-0.1), r"^margin=-0\.1: must be at least 0$"),
        (lambda: MarginTriplet(0.0, "semi_hard"), r"^margin=0\.0: must be above 0$"),
        (lambda: MarginTriplet(mode="hard"), r"^mode=hard: must be one of .* semi_hard_wide"),
        (lambda: FaceNetTriplet(-1.0), r"^margin=-1\.0: must be at least 0$"),
        (lambda: ContrastiveMargin(0.0), r"^margin=0\.0: must be above 0$"),
    ],
)
def test_bad_numbers(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
