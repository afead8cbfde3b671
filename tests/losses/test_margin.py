"""The margin losses by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from helpers.contrastive import INF, with_gaps
from ssl_zoo.losses import ContrastiveMargin, FaceNetTriplet, MarginTriplet

# --- by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("margin", "expected"), [(0.2, 0.0), (0.5, 0.1)])
def test_facenet_by_hand(margin: float, expected: float) -> None:
    # anchor (1, 0), positive (0.8, 0.6), negative (0.6, 0.8)
    pos, neg = (torch.tensor(x, dtype=torch.float64) for x in ([0.8], [[0.6]]))
    loss = FaceNetTriplet(margin)(pos, neg)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_hadsell_by_hand() -> None:
    def cosine(distance: float) -> Tensor:
        return torch.tensor([1 - distance**2 / 2], dtype=torch.float64)

    loss = ContrastiveMargin(1.0)
    assert loss(cosine(0.5), torch.full((1, 1), -INF).double()).item() == pytest.approx(0.125)
    # a positive and a negative at 0.5 (0.125 each), a negative beyond the margin (0)
    neg = torch.stack([cosine(0.5), cosine(1.7)], dim=1)
    assert loss(cosine(0.5), neg).item() == pytest.approx(0.08333333333, rel=1e-9)


def test_hadsell_at_distance_0() -> None:
    pos, neg = torch.ones(2, requires_grad=True), torch.ones(2, 2, requires_grad=True)
    loss = ContrastiveMargin(1.0)(pos, neg)
    assert loss.item() == pytest.approx(4 * 0.5 / 6)
    loss.backward()
    assert neg.grad is not None
    assert neg.grad.isfinite().all()
    close = torch.tensor([[1 - 2**-24, 1 + 2**-23]], requires_grad=True)  # float32's neighbours
    ContrastiveMargin(1.0)(pos[:1], close).backward()
    assert close.grad is not None
    assert close.grad.isfinite().all()


# --- relations between the losses ---------------------------------------------------------------


def test_facenet_is_twice_the_triplet_of_half_the_margin() -> None:
    pos, neg = with_gaps()
    expected = 2 * MarginTriplet(0.25)(pos, neg).item()
    assert FaceNetTriplet(0.5)(pos, neg).item() == pytest.approx(expected, abs=1e-12)


def test_the_two_semi_hard_readings_differ_on_hard_negatives_alone() -> None:
    pos, hard = torch.tensor([0.5]), torch.tensor([[0.6]])
    assert MarginTriplet(0.4, "semi_hard")(pos, hard).item() == 0
    assert MarginTriplet(0.4, "semi_hard_wide")(pos, hard).item() == pytest.approx(0.5)
    too_hard, within = torch.tensor([[0.95]]), torch.tensor([[0.3]])
    assert MarginTriplet(0.4, "semi_hard_wide")(pos, too_hard).item() == 0
    for mode in ("semi_hard", "semi_hard_wide"):
        assert MarginTriplet(0.4, mode)(pos, within).item() == pytest.approx(0.2)


def test_nothing_semi_hard_costs_nothing() -> None:
    pos, neg = torch.ones(3, requires_grad=True), torch.zeros(3, 4, requires_grad=True)
    loss = MarginTriplet(0.4, "semi_hard")(pos, neg)
    loss.backward()
    assert loss.item() == 0
    assert pos.grad is not None
    assert (pos.grad == 0).all()
